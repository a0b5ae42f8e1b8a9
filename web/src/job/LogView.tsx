import { Alert, Button, Flex, FlexItem, Switch } from '@patternfly/react-core';
import { memo, useEffect, useRef, useState } from 'react';
import type { Job } from '../api/types';
import { ErrorAlert } from '../ui/ErrorAlert';
import { isFinal } from '../ui/format';
import type { Block } from './logBuffer';
import { useLog } from './useLog';

/** The job's log as it grows. */
export function LogView({ job }: { job: Job }) {
  const { blocks, truncated, complete, error } = useLog(job.job_execution_id, isFinal(job.status));
  const [follow, setFollow] = useState(!isFinal(job.status));
  const box = useRef<HTMLDivElement>(null);
  const path = `/v1/jobs/${encodeURIComponent(job.job_execution_id)}/log`;

  useEffect(() => {
    if (follow && box.current && blocks.length > 0) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [follow, blocks]);

  // Who scrolls up wants to read; who scrolls down to the end wants to go on.
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current ?? { scrollTop: 0, scrollHeight: 0, clientHeight: 0 };
    if (!isFinal(job.status)) {
      setFollow(scrollTop + clientHeight >= scrollHeight - 8);
    }
  };

  return (
    <Flex direction={{ default: 'column' }} gap={{ default: 'gapMd' }} alignItems={{ default: 'alignItemsStretch' }}>
      <Flex justifyContent={{ default: 'justifyContentSpaceBetween' }}>
        <FlexItem>
          <Switch id="follow" label="Follow" isChecked={follow} onChange={(_, checked) => setFollow(checked)} />
        </FlexItem>
        <FlexItem>
          <Button variant="link" component="a" href={path} target="_blank" rel="noreferrer">
            Open the whole log as text
          </Button>
        </FlexItem>
      </Flex>
      {error !== undefined && <ErrorAlert title="The log cannot be read" error={error} />}
      {truncated && <Alert isInline isPlain variant="info" title="The beginning is left out here: the whole log has it." />}
      <div className="quell-log" ref={box} onScroll={scrolled} tabIndex={0} role="log" aria-live="off" aria-label="Log">
        {blocks.map((block) => (
          <LogBlock key={block.key} block={block} />
        ))}
        {blocks.length === 0 && error === undefined && <span className="quell-quiet">{emptyText(job, complete)}</span>}
      </div>
    </Flex>
  );
}

function emptyText(job: Job, complete: boolean): string {
  if (complete) {
    return 'The job has written nothing.';
  }
  return job.started_at ? 'Nothing has been written yet.' : 'The job has not begun yet.';
}

const LogBlock = memo(({ block }: { block: Block }) => <div>{block.text}</div>);
