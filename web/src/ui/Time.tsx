import { useEffect, useState } from 'react';
import { formatDuration, formatTime, formatUTC } from './format';

/** A moment in the reader's zone, in UTC on hover. */
export function Time({ at }: { at: string | null | undefined }) {
  if (!at) {
    return <>–</>;
  }
  const moment = new Date(at);
  return (
    <time dateTime={at} title={formatUTC(moment)} className="quell-nowrap">
      {formatTime(moment, new Date())}
    </time>
  );
}

/** The time between two moments, or from one until now. */
export function Duration({ from, to }: { from: string | null | undefined; to: string | null | undefined }) {
  const [now, setNow] = useState(Date.now);
  const running = Boolean(from) && !to;
  useEffect(() => {
    if (!running) {
      return;
    }
    const timer = window.setInterval(() => setNow(Date.now()), 1000);
    return () => window.clearInterval(timer);
  }, [running]);
  if (!from) {
    return <>–</>;
  }
  return <span className="quell-nowrap">{formatDuration((to ? Date.parse(to) : now) - Date.parse(from))}</span>;
}
