import type { AnyJob, Status } from '../api/types';

const finals: ReadonlySet<Status> = new Set<Status>(['SUCCESS', 'WARNING', 'FAILURE', 'ABORTED', 'LOST']);

/** Says whether the status never changes again. */
export function isFinal(status: Status): boolean {
  return finals.has(status);
}

/** What people call the job. */
export function nameOf(job: Pick<AnyJob, 'description' | 'display_name' | 'job_template_fq_name'>): string {
  return job.description || job.display_name || job.job_template_fq_name.at(-1) || 'A job without a name';
}

/** The end of an id, which differs between jobs that were made together: a UUIDv7 begins with the time. */
export function shortId(id: string): string {
  return id.length > 8 ? `…${id.slice(-8)}` : id;
}

/** A span of time in its two largest units. */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const units: [string, number][] = [
    ['d', Math.floor(seconds / 86_400)],
    ['h', Math.floor(seconds / 3_600) % 24],
    ['min', Math.floor(seconds / 60) % 60],
    ['s', seconds % 60],
  ];
  const first = units.findIndex(([, value]) => value > 0);
  if (first < 0) {
    return '0 s';
  }
  return units
    .slice(first, first + 2)
    .filter(([, value]) => value > 0)
    .map(([unit, value]) => `${value} ${unit}`)
    .join(' ');
}

/** A moment in the reader's zone: the time today, the date too on other days. */
export function formatTime(at: Date, now: Date): string {
  const time: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' };
  if (at.toDateString() === now.toDateString()) {
    return at.toLocaleTimeString(undefined, time);
  }
  const year: Intl.DateTimeFormatOptions = at.getFullYear() === now.getFullYear() ? {} : { year: 'numeric' };
  return at.toLocaleString(undefined, { ...year, month: 'short', day: 'numeric', ...time });
}

export function formatUTC(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
