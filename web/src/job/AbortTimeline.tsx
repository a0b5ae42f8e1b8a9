import { ProgressStep, ProgressStepper, type ProgressStepProps } from '@patternfly/react-core';
import type { Job } from '../api/types';
import { Time } from '../ui/Time';
import { type Entry, timeline } from './timeline';

const spoken: Record<Entry['variant'], string> = {
  success: 'done',
  info: 'in progress',
  warning: 'warning',
  danger: 'error',
  pending: 'to come',
};

/** What became of the job's abort, step by step. */
export function AbortTimeline({ job }: { job: Job }) {
  return (
    <ProgressStepper isVertical aria-label="Abort record">
      {timeline(job).map(({ key, title, at, lines, variant }) => (
        <ProgressStep
          key={key}
          id={`abort-${key}`}
          titleId={`abort-${key}-title`}
          variant={variant as ProgressStepProps['variant']}
          aria-label={`${title}: ${spoken[variant]}`}
          description={
            at || lines.length > 0 ? (
              <>
                {at && <Time at={at} />}
                {lines.map((line) => (
                  <span key={line} className="quell-line quell-breakable">
                    {line}
                  </span>
                ))}
              </>
            ) : undefined
          }
        >
          {title}
        </ProgressStep>
      ))}
    </ProgressStepper>
  );
}
