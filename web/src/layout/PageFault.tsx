import { Button, EmptyState, EmptyStateActions, EmptyStateBody, EmptyStateFooter, PageSection } from '@patternfly/react-core';
import ExclamationCircleIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-circle-icon';
import { useRouteError } from 'react-router';

/** A fault of the page itself; also a chunk of it that is gone since quell was replaced by another release. */
export function PageFault() {
  const error = useRouteError();
  return (
    <PageSection isFilled>
      <EmptyState headingLevel="h1" titleText="The page cannot be shown" icon={ExclamationCircleIcon} status="danger">
        <EmptyStateBody>{error instanceof Error ? error.message : String(error)}</EmptyStateBody>
        <EmptyStateFooter>
          <EmptyStateActions>
            <Button onClick={() => window.location.reload()}>Load it again</Button>
          </EmptyStateActions>
        </EmptyStateFooter>
      </EmptyState>
    </PageSection>
  );
}
