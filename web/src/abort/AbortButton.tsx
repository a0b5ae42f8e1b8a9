import { Button, type ButtonProps } from '@patternfly/react-core';
import { useState } from 'react';
import type { AnyJob } from '../api/types';
import { isFinal, nameOf, shortId } from '../ui/format';
import { AbortDialog } from './AbortDialog';
import { modesFor } from './state';

/**
 * Opens the dialog that aborts the job; by itself it does nothing. A final job has none, but a dialog that is open stays: it
 * says that the job has ended.
 */
export function AbortButton({ job, size }: { job: AnyJob; size?: ButtonProps['size'] }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      {!isFinal(job.status) && (
        <Button
          variant="secondary"
          isDanger
          size={size}
          isDisabled={modesFor([job]).length === 0}
          aria-label={`Abort ${nameOf(job)} ${shortId(job.job_execution_id)}…`}
          onClick={() => setOpen(true)}
        >
          Abort…
        </Button>
      )}
      {isOpen && <AbortDialog jobs={[job]} onClose={() => setOpen(false)} />}
    </>
  );
}
