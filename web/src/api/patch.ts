import type { InfiniteData } from '@tanstack/react-query';
import type { Job, JobList, JobSummary } from './types';

export type JobPages = InfiniteData<JobList, string>;

/**
 * Puts changed jobs where the page of the list has them, takes deleted ones away, and adds new ones at the beginning if it is
 * the first page. What the page has from a later revision stays.
 */
export function patchPage(page: JobList, changed: ReadonlyMap<string, JobSummary>, isFirst: boolean): JobList {
  const jobs: JobSummary[] = [];
  const listed = new Set<string>();
  for (const job of page.jobs) {
    listed.add(job.job_execution_id);
    const other = changed.get(job.job_execution_id);
    const latest = other && other.revision > job.revision ? other : job;
    if (!latest.deleted) {
      jobs.push(latest);
    }
  }
  if (isFirst) {
    // The list is sorted by id, newest first. A job that is older than what is shown, and not in it, belongs to a page that was
    // not asked for.
    const newest = page.jobs[0]?.job_execution_id ?? '';
    const added = [...changed.values()].filter(
      (job) => job.job_execution_id > newest && !listed.has(job.job_execution_id) && !job.deleted && job.revision > page.revision,
    );
    added.sort((a, b) => (a.job_execution_id < b.job_execution_id ? 1 : -1));
    jobs.unshift(...added);
  }
  return { ...page, jobs };
}

export function patchPages(data: JobPages, changed: ReadonlyMap<string, JobSummary>): JobPages {
  return { ...data, pages: data.pages.map((page, index) => patchPage(page, changed, index === 0)) };
}

/** Takes over what a summary says; the abort record, the steps and the output are the whole job's. */
export function patchJob(whole: Job, summary: JobSummary): Job {
  const { status, reason, node, unreachable_since, percentage_completed, current_tasks, started_at, ended_at } = summary;
  return { ...whole, status, reason, node, unreachable_since, percentage_completed, current_tasks, started_at, ended_at };
}
