import { Label, type LabelProps } from '@patternfly/react-core';
import BanIcon from '@patternfly/react-icons/dist/esm/icons/ban-icon';
import CheckCircleIcon from '@patternfly/react-icons/dist/esm/icons/check-circle-icon';
import ClockIcon from '@patternfly/react-icons/dist/esm/icons/clock-icon';
import ExclamationCircleIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-circle-icon';
import ExclamationTriangleIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-triangle-icon';
import InProgressIcon from '@patternfly/react-icons/dist/esm/icons/in-progress-icon';
import MinusCircleIcon from '@patternfly/react-icons/dist/esm/icons/minus-circle-icon';
import PlayIcon from '@patternfly/react-icons/dist/esm/icons/play-icon';
import StopCircleIcon from '@patternfly/react-icons/dist/esm/icons/stop-circle-icon';
import UnlinkIcon from '@patternfly/react-icons/dist/esm/icons/unlink-icon';
import WrenchIcon from '@patternfly/react-icons/dist/esm/icons/wrench-icon';
import type { PlaybookStatus, Status } from '../api/types';

type Look = Pick<LabelProps, 'color' | 'status' | 'icon'>;

// A status is told by its word; colour and icon only help to find it.
const looks: Record<Status | PlaybookStatus, Look> = {
  QUEUED: { color: 'grey', icon: <ClockIcon /> },
  STARTING: { color: 'teal', icon: <PlayIcon /> },
  IN_PROGRESS: { color: 'blue', icon: <InProgressIcon /> },
  ABORTING: { color: 'orange', icon: <StopCircleIcon /> },
  RECOVERING: { color: 'purple', icon: <WrenchIcon /> },
  SUCCESS: { status: 'success', icon: <CheckCircleIcon /> },
  WARNING: { status: 'warning', icon: <ExclamationTriangleIcon /> },
  FAILURE: { status: 'danger', icon: <ExclamationCircleIcon /> },
  ABORTED: { color: 'orangered', icon: <BanIcon /> },
  LOST: { status: 'danger', icon: <UnlinkIcon /> },

  PENDING: { color: 'grey', icon: <ClockIcon /> },
  RUNNING: { color: 'blue', icon: <InProgressIcon /> },
  INTERRUPTED: { color: 'orangered', icon: <BanIcon /> },
  SKIPPED: { color: 'grey', icon: <MinusCircleIcon /> },
};

/** The status of a job or of a playbook. */
export function StatusLabel({ status, isCompact }: { status: Status | PlaybookStatus; isCompact?: boolean }) {
  return (
    <Label {...looks[status]} isCompact={isCompact} variant="outline">
      {status}
    </Label>
  );
}
