import {
  Masthead,
  MastheadBrand,
  MastheadContent,
  MastheadLogo,
  MastheadMain,
  Page,
  SkipToContent,
} from '@patternfly/react-core';
import { Link, Outlet } from 'react-router';
import { ConnectionBanner, ConnectionLabel } from './Connection';
import './layout.css';

const mainId = 'main';

/** What is around every page. */
export function Layout() {
  const masthead = (
    <Masthead display={{ default: 'inline' }}>
      <MastheadMain>
        <MastheadBrand>
          <MastheadLogo component={(props) => <Link {...props} to="/jobs" />}>
            <span className="quell-brand">
              <img src={`${import.meta.env.BASE_URL}icon.svg`} alt="" width="28" height="28" />
              Quell
            </span>
          </MastheadLogo>
        </MastheadBrand>
      </MastheadMain>
      <MastheadContent>
        <div className="quell-connection">
          <ConnectionLabel />
        </div>
      </MastheadContent>
    </Masthead>
  );
  return (
    <Page
      masthead={masthead}
      skipToContent={<SkipToContent href={`#${mainId}`}>Skip to content</SkipToContent>}
      mainContainerId={mainId}
      isContentFilled
    >
      <ConnectionBanner />
      <Outlet />
    </Page>
  );
}
