import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getJSON, postJSON } from './client';
import { jobKey, jobsKey } from './keys';
import { useLive } from './LiveProvider';
import { patchPage } from './patch';
import type { AbortAnswer, Job, JobList, Mode } from './types';

const pageSize = 50;

/** The jobs, newest first, by pages. */
export function useJobs() {
  const live = useLive();
  return useInfiniteQuery({
    queryKey: jobsKey,
    initialPageParam: '',
    queryFn: async ({ pageParam, signal }) => {
      const query = new URLSearchParams({ limit: String(pageSize) });
      if (pageParam) {
        query.set('cursor', pageParam);
      }
      const page = await getJSON<JobList>(`/v1/jobs?${query}`, signal);
      return patchPage(page, live.changed(), pageParam === '');
    },
    getNextPageParam: (last) => last.next_cursor || undefined,
    refetchInterval: live.pollInterval,
  });
}

/** One job, whole. */
export function useJob(id: string) {
  const live = useLive();
  return useQuery({
    queryKey: jobKey(id),
    queryFn: ({ signal }) => getJSON<Job>(`/v1/jobs/${encodeURIComponent(id)}`, signal),
    refetchInterval: live.pollInterval,
  });
}

export interface AbortRequest {
  ids: string[];
  mode: Mode;
  reason: string;
}

/** Stores an abort intent for each of the jobs. */
export function useAbort() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ ids, mode, reason }: AbortRequest) => {
      if (ids.length === 0) {
        throw new Error('No job is named.'); // the API would take it for all of them
      }
      const query = reason ? `?${new URLSearchParams({ reason })}` : '';
      return postJSON<AbortAnswer>(`/abort-job${query}`, { input: { job_execution_ids: ids, abort_mode: mode } });
    },
    onSettled: () => client.invalidateQueries(),
  });
}
