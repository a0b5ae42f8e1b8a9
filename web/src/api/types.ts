// The shapes of the API, by the names that the page uses. They are those of the OpenAPI document: schema.d.ts is made from
// openapi.json by `npm run types`.

import type { components } from './schema';

type Schemas = components['schemas'];

/** What the API may come to say of a job in its requester's own words. */
interface Described {
  description?: string;
}

/** A job as lists and events have it. */
export type JobSummary = Schemas['JobSummary'] & Described;
/** One job, whole. */
export type Job = Omit<Schemas['Job'], 'abort'> & Described & { abort: AbortRecord | null };
export type JobList = Omit<Schemas['JobList'], 'jobs'> & { jobs: JobSummary[] };

export type Status = Job['status'];
export type Playbook = Schemas['Playbook'];
export type PlaybookStatus = Playbook['status'];

export type AbortRecord = Schemas['AbortRecord'];
export type AbortBrief = Schemas['AbortBrief'];
export type AbortAnswer = Schemas['AbortAnswer'];
export type AbortResult = Schemas['Result'];
export type Mode = Schemas['PutAbort']['mode'];

export type Problem = Schemas['Problem'];

/** What a summary and a whole job have in common. */
export type AnyJob = Pick<
  JobSummary,
  'job_execution_id' | 'job_template_fq_name' | 'display_name' | 'description' | 'status' | 'node' | 'unreachable_since'
> & { abort: AbortBrief | AbortRecord | null };
