import { Alert, Label, PageSection } from '@patternfly/react-core';
import CheckCircleIcon from '@patternfly/react-icons/dist/esm/icons/check-circle-icon';
import DisconnectedIcon from '@patternfly/react-icons/dist/esm/icons/disconnected-icon';
import InProgressIcon from '@patternfly/react-icons/dist/esm/icons/in-progress-icon';
import SyncAltIcon from '@patternfly/react-icons/dist/esm/icons/sync-alt-icon';
import { useLiveState } from '../api/LiveProvider';
import { Time } from '../ui/Time';

/** How the connection is, in a word. */
export function ConnectionLabel() {
  switch (useLiveState().connection) {
    case 'live':
      return (
        <Label variant="outline" status="success" icon={<CheckCircleIcon />} title="Changes show as they happen.">
          Live
        </Label>
      );
    case 'polling':
      return (
        <Label variant="outline" icon={<SyncAltIcon />} title="The event stream is not open: the page asks every 3 seconds.">
          Every 3 s
        </Label>
      );
    case 'lost':
      return (
        <Label status="danger" icon={<DisconnectedIcon />}>
          Disconnected
        </Label>
      );
    default:
      return <Label variant="outline" icon={<InProgressIcon />}>Connecting</Label>;
  }
}

/** Says so when what the page shows may be out of date. */
export function ConnectionBanner() {
  const { connection, heardAt, staleSince } = useLiveState();
  return (
    <div role="status">
      {connection === 'lost' && (
        <PageSection isFilled={false}>
          <Alert isInline variant="danger" title="The connection to the API is lost">
            {heardAt > 0 ? (
              <>
                What you see is from <Time at={new Date(heardAt).toISOString()} /> and may be out of date.{' '}
              </>
            ) : null}
            The page tries again every few seconds. Jobs go on meanwhile, and requested aborts stay stored.
          </Alert>
        </PageSection>
      )}
      {connection !== 'lost' && staleSince > 0 && (
        <PageSection isFilled={false}>
          <Alert isInline variant="warning" title="What you see may be out of date">
            The API server has not heard from its store since <Time at={new Date(staleSince).toISOString()} />.
          </Alert>
        </PageSection>
      )}
    </div>
  );
}
