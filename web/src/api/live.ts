import type { QueryClient } from '@tanstack/react-query';
import { type Heard, onAnswer } from './client';
import { jobKey, jobKeys, jobsKey } from './keys';
import { type JobPages, patchJob, patchPages } from './patch';
import type { Job, JobSummary } from './types';

/**
 * connecting: nothing is known yet. live: the event stream is open. polling: it is not, but the API answers. lost: the API
 * does not answer.
 */
export type Connection = 'connecting' | 'live' | 'polling' | 'lost';

export interface LiveState {
  connection: Connection;
  /** When the API last said something, in milliseconds since 1970. */
  heardAt: number;
  /** Since when, in milliseconds since 1970, the API server itself has not heard from the store; 0 where it has. */
  staleSince: number;
}

/** Events are gathered for this long, so that a busy cluster does not draw the page a hundred times a second. */
const gather = 150;
/** How long events are kept for answers that were asked for before they came, and may be older. */
const keep = 30_000;
const slowest = 30_000;
/** An API server whose cache was not proved to be fresh for so long has lost the store. */
const stale = 15_000;

/**
 * Keeps what the queries know up to date by the API's event stream, and knows how the connection is. Where the stream is
 * refused or breaks, the queries poll (see pollInterval) until it is open again.
 */
export class Live {
  private readonly client: QueryClient;
  private readonly listeners = new Set<() => void>();
  private state: LiveState = { connection: 'connecting', heardAt: 0, staleSince: 0 };
  private source: EventSource | undefined;
  private streaming = false;
  private retryIn = 1000;
  private retry: number | undefined;
  private flushing: number | undefined;
  private gathered = new Map<string, JobSummary>();
  private recent: { at: number; job: JobSummary }[] = [];
  private release: (() => void)[] = [];

  constructor(client: QueryClient) {
    this.client = client;
  }

  start(): void {
    const visible = () => (document.hidden ? this.close() : this.open());
    document.addEventListener('visibilitychange', visible);
    this.release = [
      () => document.removeEventListener('visibilitychange', visible),
      onAnswer((heard) => this.hear(heard)),
    ];
    visible();
  }

  stop(): void {
    this.release.forEach((release) => release());
    this.close();
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  snapshot = (): LiveState => this.state;

  /** How often a query that the stream keeps up to date asks all the same. */
  pollInterval = (): number => (this.state.connection === 'live' ? 15_000 : 3_000);

  /** The jobs that changed lately. An answer that was asked for before they did may not have them. */
  changed(): Map<string, JobSummary> {
    return new Map(this.recent.map(({ job }) => [job.job_execution_id, job]));
  }

  private hear({ answered, cacheAge }: Heard): void {
    const connection = !answered ? 'lost' : this.streaming ? 'live' : 'polling';
    let { staleSince } = this.state;
    if (cacheAge !== undefined) {
      staleSince = cacheAge * 1000 > stale ? Date.now() - cacheAge * 1000 : 0;
    }
    this.set(connection, answered, staleSince);
  }

  private set(connection: Connection, heard: boolean, staleSince = this.state.staleSince): void {
    const heardAt = heard ? Date.now() : this.state.heardAt;
    // The page is not drawn again for every event's moment.
    if (connection !== this.state.connection || staleSince !== this.state.staleSince || heardAt - this.state.heardAt >= 1000) {
      this.state = { connection, heardAt, staleSince };
      this.listeners.forEach((tell) => tell());
    }
  }

  // A browser allows six connections to one server. A tab that nobody sees gives its own back.
  private open(): void {
    if (this.source) {
      return;
    }
    const source = new EventSource('/v1/events');
    this.source = source;
    source.onopen = () => {
      this.streaming = true;
      this.retryIn = 1000;
      this.set('live', true);
      this.refresh(); // for what changed while there was no stream
    };
    source.onerror = () => {
      const had = this.streaming;
      this.streaming = false;
      if (source.readyState === EventSource.CLOSED) {
        // Refused. The browser tries again only where the connection broke.
        this.close();
        this.retry = window.setTimeout(() => this.open(), this.retryIn);
        this.retryIn = Math.min(2 * this.retryIn, slowest);
      }
      if (had) {
        this.set('polling', false);
        this.refresh(); // tells whether the API is there at all, and begins the polling
      }
    };
    source.addEventListener('job', (event) => this.take(JSON.parse(String(event.data)) as JobSummary));
    source.addEventListener('node', () => this.set('live', true));
    source.addEventListener('reset', () => this.refresh());
  }

  private close(): void {
    window.clearTimeout(this.retry);
    window.clearTimeout(this.flushing);
    this.flushing = undefined;
    this.source?.close();
    this.source = undefined;
    this.streaming = false;
  }

  private refresh(): void {
    void this.client.invalidateQueries();
  }

  private take(job: JobSummary): void {
    this.set('live', true);
    const now = Date.now();
    this.recent = this.recent.filter(({ at }) => at > now - keep);
    this.recent.push({ at: now, job });
    this.gathered.set(job.job_execution_id, job);
    this.flushing ??= window.setTimeout(() => this.flush(), gather);
  }

  private flush(): void {
    this.flushing = undefined;
    const changed = this.gathered;
    this.gathered = new Map();
    this.client.setQueriesData<JobPages>({ queryKey: jobsKey }, (data) => data && patchPages(data, changed));
    for (const query of this.client.getQueryCache().findAll({ queryKey: jobKeys })) {
      const id = String(query.queryKey[1]);
      const summary = changed.get(id);
      const whole = query.state.data as Job | undefined;
      if (!summary || !whole) {
        continue;
      }
      if (!summary.deleted) {
        this.client.setQueryData<Job>(jobKey(id), patchJob(whole, summary));
      }
      void this.client.invalidateQueries({ queryKey: jobKey(id) }); // the summary has no steps and no abort record
    }
  }
}
