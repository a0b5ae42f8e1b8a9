import { Button, Tooltip } from '@patternfly/react-core';
import CheckIcon from '@patternfly/react-icons/dist/esm/icons/check-icon';
import CopyIcon from '@patternfly/react-icons/dist/esm/icons/copy-icon';
import { useEffect, useState } from 'react';
import { copyText } from './copy';
import { shortId } from './format';

/** An execution id, short or whole, that a click copies. */
export function CopyId({ id, whole }: { id: string; whole?: boolean }) {
  const [done, setDone] = useState<'' | 'Copied' | 'Copying is not allowed here'>('');
  useEffect(() => {
    if (!done) {
      return;
    }
    const timer = window.setTimeout(() => setDone(''), 2000);
    return () => window.clearTimeout(timer);
  }, [done]);
  return (
    <span className="quell-id" title={whole ? undefined : id}>
      {whole ? id : shortId(id)}
      <Tooltip content={done || 'Copy the execution id'} aria="none" aria-live="polite">
        <Button
          variant="plain"
          size="sm"
          hasNoPadding
          aria-label={done || `Copy the execution id ${id}`}
          icon={done === 'Copied' ? <CheckIcon /> : <CopyIcon />}
          onClick={async () => setDone((await copyText(id)) ? 'Copied' : 'Copying is not allowed here')}
        />
      </Tooltip>
    </span>
  );
}
