import { useEffect, useState } from 'react';
import { ApiError, request } from '../api/client';
import { type Block, LogBuffer } from './logBuffer';

export interface Log {
  blocks: Block[];
  truncated: boolean;
  /** The log has been read to its end, and the job adds nothing more. */
  complete: boolean;
  error: unknown;
}

const drawEvery = 100;
const retryAfter = 2000;

/**
 * Reads the log of a job, and goes on as it grows, until the job is final. A reader that was cut off goes on where it was.
 * A tab that nobody sees does not read: a browser allows six connections to one server.
 */
export function useLog(id: string, isFinal: boolean): Log {
  const [log, setLog] = useState<Log>({ blocks: [], truncated: false, complete: false, error: undefined });
  const [visible, setVisible] = useState(!document.hidden);
  const [reader] = useState(() => new Reader(id));

  useEffect(() => {
    const change = () => setVisible(!document.hidden);
    document.addEventListener('visibilitychange', change);
    return () => document.removeEventListener('visibilitychange', change);
  }, []);

  useEffect(() => {
    if (!visible || reader.complete) {
      return;
    }
    const stop = new AbortController();
    void reader.run(isFinal, stop.signal, setLog);
    return () => stop.abort();
  }, [reader, isFinal, visible]);
  return log;
}

/** Has what was read so far. */
class Reader {
  private readonly path: string;
  private buffer = new LogBuffer();
  private decoder = new TextDecoder();
  private received = 0;
  complete = false;

  constructor(id: string) {
    this.path = `/v1/jobs/${encodeURIComponent(id)}/log`;
  }

  async run(isFinal: boolean, signal: AbortSignal, show: (log: Log) => void): Promise<void> {
    let timer: number | undefined;
    const draw = (error?: unknown) => {
      window.clearTimeout(timer);
      timer = undefined;
      if (!signal.aborted) {
        show({ blocks: this.buffer.snapshot(), truncated: this.buffer.truncated, complete: this.complete, error });
      }
    };
    while (!signal.aborted) {
      try {
        await this.read(!isFinal, signal, () => {
          timer ??= window.setTimeout(draw, drawEvery);
        });
        this.complete = isFinal;
        draw();
        if (isFinal) {
          return;
        }
      } catch (error) {
        draw(error);
        if (signal.aborted || (isFinal && error instanceof ApiError && error.status === 404)) {
          return;
        }
      }
      await pause(retryAfter, signal);
    }
  }

  /** Reads on from where it was, until the answer ends. */
  private async read(follow: boolean, signal: AbortSignal, changed: () => void): Promise<void> {
    const from = this.received;
    let response: Response;
    try {
      response = follow
        ? await request(`${this.path}?${new URLSearchParams({ follow: 'true', offset: String(from) })}`, { signal })
        : await request(this.path, { signal, headers: from > 0 ? { Range: `bytes=${from}-` } : undefined });
    } catch (error) {
      if (error instanceof ApiError && error.status === 416) {
        return; // there is nothing beyond what was read
      }
      throw error;
    }
    if (!follow && from > 0 && response.status !== 206) {
      this.buffer = new LogBuffer(); // the whole log, though a part was asked for
      this.decoder = new TextDecoder();
      this.received = 0;
    }
    const reader = response.body?.getReader();
    while (reader) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      this.received += value.byteLength;
      this.buffer.append(this.decoder.decode(value, { stream: true }));
      changed();
    }
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = window.setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => {
      window.clearTimeout(timer);
      resolve();
    });
  });
}
