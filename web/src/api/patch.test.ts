import { expect, test } from 'vitest';
import { abortRecord, job, summary } from '../testing';
import { type JobPages, patchJob, patchPages } from './patch';
import type { JobSummary } from './types';

const pages = (...lists: string[][]): JobPages => ({
  pages: lists.map((ids) => ({ jobs: ids.map((id) => summary({ job_execution_id: id, revision: 10 })), next_cursor: '', revision: 10 })),
  pageParams: lists.map(() => ''),
});
const ids = (data: JobPages) => data.pages.map((page) => page.jobs.map((j) => j.job_execution_id));
const changes = (...jobs: Partial<JobSummary>[]) => {
  const summaries = jobs.map((what) => summary({ revision: 11, ...what }));
  return new Map(summaries.map((j) => [j.job_execution_id, j]));
};

test('a changed job is replaced where it stands', () => {
  const data = patchPages(pages(['5', '4'], ['3', '2']), changes({ job_execution_id: '3', status: 'SUCCESS' }));
  expect(ids(data)).toEqual([
    ['5', '4'],
    ['3', '2'],
  ]);
  expect(data.pages[1]?.jobs[0]?.status).toBe('SUCCESS');
});

test('what is older than what is shown is dropped', () => {
  const data = patchPages(
    pages(['5', '4']),
    changes({ job_execution_id: '5', status: 'QUEUED', revision: 9 }, { job_execution_id: '6', revision: 9 }),
  );
  expect(ids(data)).toEqual([['5', '4']]);
  expect(data.pages[0]?.jobs[0]?.status).toBe('IN_PROGRESS');
});

test('new jobs come first, the newest at the top', () => {
  expect(ids(patchPages(pages(['5', '4'], ['3']), changes({ job_execution_id: '6' }, { job_execution_id: '7' })))).toEqual([
    ['7', '6', '5', '4'],
    ['3'],
  ]);
  expect(ids(patchPages(pages([]), changes({ job_execution_id: '1' })))).toEqual([['1']]);
});

test('a deleted job goes', () => {
  const data = patchPages(pages(['5', '4']), changes({ job_execution_id: '4', deleted: true }, { job_execution_id: '6', deleted: true }));
  expect(ids(data)).toEqual([['5']]);
});

test('a job of a page that was not asked for is left out', () => {
  expect(ids(patchPages(pages(['5', '4']), changes({ job_execution_id: '1' })))).toEqual([['5', '4']]);
});

test('a summary does not take away what only the whole job has', () => {
  const whole = job({ input: { a: 1 }, output: { b: 2 }, status: 'STARTING', abort: abortRecord() });
  const patched = patchJob(whole, summary({ status: 'IN_PROGRESS', percentage_completed: 40 }));
  expect(patched).toEqual({ ...whole, status: 'IN_PROGRESS', percentage_completed: 40 });
});
