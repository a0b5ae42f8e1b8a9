import type { Problem } from './types';

/** An answer of the API that says no, with its own text; or no answer at all. */
export class ApiError extends Error {
  /** The HTTP status; 0 where there was no answer. */
  readonly status: number;
  readonly title: string;
  readonly code: string;

  constructor(status: number, title: string, detail: string, code: string) {
    super(detail);
    this.name = 'ApiError';
    this.status = status;
    this.title = title;
    this.code = code;
  }
}

const timeout = 15_000;

/** What a request said about the connection: whether there was an answer, be it an error, and how old its data was. */
export interface Heard {
  answered: boolean;
  /** Seconds since what the API server answered from was last proved to be fresh; undefined where it does not say. */
  cacheAge?: number;
}

type Listener = (heard: Heard) => void;
const listeners = new Set<Listener>();

/** Tells the listener after each request what it said about the connection. */
export function onAnswer(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Makes a request and returns its answer when that is a good one; throws an ApiError otherwise. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { cache: 'no-store', redirect: 'error', ...init });
  } catch (cause) {
    if (init.signal?.aborted && !isTimeout(init.signal.reason)) {
      throw cause; // nobody waits for it any more
    }
    listeners.forEach((tell) => tell({ answered: false }));
    throw new ApiError(0, 'No answer', `The API at ${window.location.host} does not answer.`, 'no_answer');
  }
  const age = response.headers.get('X-Quell-Cache-Age');
  listeners.forEach((tell) => tell({ answered: true, cacheAge: age === null ? undefined : Number.parseFloat(age) }));
  if (!response.ok) {
    throw await errorOf(response);
  }
  return response;
}

export async function getJSON<T>(path: string, signal?: AbortSignal): Promise<T> {
  const limit = AbortSignal.timeout(timeout);
  const response = await request(path, { signal: signal ? AbortSignal.any([signal, limit]) : limit });
  return (await response.json()) as T;
}

export async function postJSON<T>(path: string, body: unknown): Promise<T> {
  const response = await request(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Quell-Source': 'web' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(timeout),
  });
  return (await response.json()) as T;
}

function isTimeout(reason: unknown): boolean {
  return reason instanceof DOMException && reason.name === 'TimeoutError';
}

/** Reads a problem document (RFC 9457); a proxy's answer need not be one. */
async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => '');
  try {
    const problem = JSON.parse(text) as Partial<Problem>;
    if (problem.detail || problem.title) {
      const title = problem.title ?? response.statusText;
      return new ApiError(response.status, title, problem.detail || title, problem.code ?? '');
    }
  } catch {
    // not JSON
  }
  const title = response.statusText || `HTTP ${response.status}`;
  return new ApiError(response.status, title, text.trim().slice(0, 500) || title, '');
}
