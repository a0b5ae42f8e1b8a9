import {
  Alert,
  Button,
  Form,
  FormGroup,
  FormHelperText,
  HelperText,
  HelperTextItem,
  Modal,
  ModalBody,
  ModalFooter,
  ModalHeader,
  Radio,
  Stack,
  StackItem,
  TextInput,
} from '@patternfly/react-core';
import { type SyntheticEvent, useId, useRef, useState } from 'react';
import { useAbort } from '../api/jobs';
import type { AbortResult, AnyJob, Mode } from '../api/types';
import { ErrorAlert } from '../ui/ErrorAlert';
import { isFinal, nameOf, shortId } from '../ui/format';
import { StatusLabel } from '../ui/StatusLabel';
import { modesFor } from './state';

const what: Record<Mode, { label: string; meaning: string; confirm: string }> = {
  graceful: {
    label: 'Graceful',
    meaning: 'The playbook that runs ends by itself, undisturbed; what comes after it is skipped.',
    confirm: 'Abort gracefully',
  },
  force: {
    label: 'Force',
    meaning: 'Every process of the job is killed at once, in the middle of what it does; then the recovery playbooks run.',
    confirm: 'Abort by force',
  },
};

/**
 * A click that is faster than this after the dialog opened was the second half of a double click on what opened it, and
 * confirms nothing.
 */
const tooFast = 400;

interface Props {
  jobs: AnyJob[];
  onClose: () => void;
}

/**
 * Asks how to abort the jobs, and does it. Graceful is what a confirmation without a choice means. Force is never preselected,
 * so that no sequence of hasty clicks leads to it.
 */
export function AbortDialog({ jobs, onClose }: Props) {
  const id = useId();
  const [opened] = useState(Date.now);
  const [chosen, setChosen] = useState<Mode>();
  const [reason, setReason] = useState('');
  const sent = useRef(false);
  const abort = useAbort();

  const modes = modesFor(jobs);
  const mode = chosen ?? (modes.includes('graceful') ? 'graceful' : undefined);
  const possible = mode !== undefined && modes.includes(mode);
  const rejected = abort.data?.results.filter(({ outcome }) => outcome === 'not_found' || outcome === 'already_final') ?? [];
  const over = jobs.every((job) => isFinal(job.status));

  const confirm = (event: SyntheticEvent) => {
    event.preventDefault();
    if (!possible || sent.current || Date.now() - opened < tooFast) {
      return;
    }
    sent.current = true;
    abort.mutate(
      { ids: jobs.map((job) => job.job_execution_id), mode, reason: reason.trim() },
      {
        onSuccess: ({ results }) => {
          if (results.every(({ outcome }) => outcome === 'accepted' || outcome === 'already_aborting')) {
            onClose();
          }
        },
        onError: () => {
          sent.current = false; // nothing is known to be stored: the same may be asked for again
        },
      },
    );
  };

  return (
    <Modal variant="small" isOpen onClose={onClose} aria-labelledby={`${id}-title`} aria-describedby={`${id}-body`}>
      <ModalHeader title={titleOf(jobs)} labelId={`${id}-title`} />
      <ModalBody id={`${id}-body`}>
        <Stack hasGutter>
          <StackItem>
            <Subject jobs={jobs} />
          </StackItem>
          <StackItem>
            <Form id={`${id}-form`} onSubmit={confirm}>
              <FormGroup role="radiogroup" label="How" fieldId={`${id}-mode`} isStack>
                {(['graceful', 'force'] as const).map((option) => (
                  <Radio
                    key={option}
                    id={`${id}-${option}`}
                    className="quell-mode"
                    name={`${id}-mode`}
                    label={what[option].label}
                    description={what[option].meaning}
                    isChecked={mode === option}
                    isDisabled={abort.isPending || abort.isSuccess || !modes.includes(option)}
                    onChange={() => setChosen(option)}
                  />
                ))}
                {modes.length === 1 && (
                  <FormHelperText>
                    <HelperText>
                      <HelperTextItem>A graceful abort is already on its way.</HelperTextItem>
                    </HelperText>
                  </FormHelperText>
                )}
              </FormGroup>
              <FormGroup label="Reason" fieldId={`${id}-reason`}>
                <TextInput
                  id={`${id}-reason`}
                  value={reason}
                  maxLength={500}
                  isDisabled={abort.isPending || abort.isSuccess}
                  onChange={(_, value) => setReason(value)}
                />
                <FormHelperText>
                  <HelperText>
                    <HelperTextItem>Optional. It is kept in the job’s abort record.</HelperTextItem>
                  </HelperText>
                </FormHelperText>
              </FormGroup>
            </Form>
          </StackItem>
          {abort.error && (
            <StackItem>
              <ErrorAlert title="The abort was not confirmed" error={abort.error} />
            </StackItem>
          )}
          {rejected.length > 0 && (
            <StackItem>
              <Rejected results={rejected} all={abort.data?.results.length ?? 0} />
            </StackItem>
          )}
          {over && !abort.isSuccess && (
            <StackItem>
              <Alert isInline variant="info" title="There is nothing left to abort">
                {jobs.length === 1 ? 'The job has ended meanwhile.' : 'The jobs have ended meanwhile.'}
              </Alert>
            </StackItem>
          )}
        </Stack>
      </ModalBody>
      <ModalFooter>
        {abort.isSuccess ? (
          <Button onClick={onClose}>Close</Button>
        ) : (
          <>
            <Button
              type="submit"
              form={`${id}-form`}
              variant={mode === 'force' ? 'danger' : 'primary'}
              isLoading={abort.isPending}
              isDisabled={abort.isPending || !possible}
            >
              {mode ? what[mode].confirm : 'Abort'}
            </Button>
            <Button variant="link" onClick={onClose}>
              {abort.isPending ? 'Close' : 'Cancel'}
            </Button>
          </>
        )}
      </ModalFooter>
    </Modal>
  );
}

function titleOf(jobs: AnyJob[]): string {
  return jobs.length === 1 ? 'Abort this job?' : `Abort ${jobs.length} jobs?`;
}

function Subject({ jobs }: { jobs: AnyJob[] }) {
  return (
    <>
      {jobs.map((job) => (
        <div key={job.job_execution_id} className="quell-subject">
          <strong className="quell-breakable">{nameOf(job)}</strong>
          <span className="quell-id" title={job.job_execution_id}>
            {shortId(job.job_execution_id)}
          </span>
          <StatusLabel status={job.status} isCompact />
          {job.unreachable_since && <span className="quell-quiet">The node {job.node} is out of reach: it aborts the job when it is back.</span>}
        </div>
      ))}
    </>
  );
}

function Rejected({ results, all }: { results: AbortResult[]; all: number }) {
  return (
    <Alert isInline variant="warning" title={all === 1 ? 'There was nothing to abort' : `${results.length} of ${all} jobs were not aborted`}>
      {results.map(({ job_execution_id, outcome, status }) => (
        <div key={job_execution_id}>
          {shortId(job_execution_id)}: {outcome === 'not_found' ? 'there is no such job (any more)' : `had ended already, ${status}`}
        </div>
      ))}
    </Alert>
  );
}
