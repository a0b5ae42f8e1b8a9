import type { AbortBrief, AbortRecord, AnyJob, Mode } from '../api/types';
import { isFinal } from '../ui/format';

/** The abort that holds for the job and is not over; undefined where there is none. */
export function pendingAbort(job: AnyJob): ((AbortBrief | AbortRecord) & { mode: Mode }) | undefined {
  const abort = job.abort;
  if (isFinal(job.status) || !abort || abort.mode === '' || abort.outcome) {
    return undefined;
  }
  return abort as (AbortBrief | AbortRecord) & { mode: Mode };
}

/** How far the abort of a job that is not final has come, in a few words. */
export function abortNote(job: AnyJob): string {
  const abort = pendingAbort(job);
  if (!abort) {
    return '';
  }
  return `${abort.mode}, ${abort.seen_at ? 'seen' : 'requested'}`;
}

/** The modes that would still change something for at least one of the jobs. */
export function modesFor(jobs: AnyJob[]): Mode[] {
  const active = jobs.filter((job) => !isFinal(job.status));
  const asked = active.map((job) => pendingAbort(job)?.mode);
  const modes: Mode[] = [];
  if (asked.some((mode) => mode === undefined)) {
    modes.push('graceful');
  }
  if (asked.some((mode) => mode !== 'force')) {
    modes.push('force');
  }
  return modes;
}
