import { Alert } from '@patternfly/react-core';
import { ApiError } from '../api/client';

/** What went wrong, in the API's own words. */
export function ErrorAlert({ title, error }: { title: string; error: unknown }) {
  const code = error instanceof ApiError ? error.code : '';
  return (
    <Alert isInline variant="danger" title={title}>
      <span className="quell-breakable">{error instanceof Error ? error.message : String(error)}</span>
      {code && <span className="quell-quiet"> ({code})</span>}
    </Alert>
  );
}

/**
 * That what is shown could not be read, or not again. Where the API does not answer at all, the banner says so for the whole
 * page.
 */
export function QueryError({ what, error, hasData }: { what: string; error: unknown; hasData: boolean }) {
  if (!error || (hasData && error instanceof ApiError && error.status === 0)) {
    return null;
  }
  return <ErrorAlert title={hasData ? `${what} cannot be read again: what you see may be out of date` : `${what} cannot be read`} error={error} />;
}
