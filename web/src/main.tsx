import '@patternfly/react-core/dist/styles/base.css';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { createBrowserRouter } from 'react-router';
import { RouterProvider } from 'react-router/dom';
import { LiveProvider } from './api/LiveProvider';
import { routes } from './routes';
import { followTheme } from './theme';
import './main.css';

followTheme();

const client = new QueryClient({
  defaultOptions: {
    // The page shows an error at once and asks again at its own pace. The browser's view of being online says nothing about
    // a server on this host or in this network.
    queries: { retry: false, networkMode: 'always', staleTime: 2_000 },
    mutations: { retry: false, networkMode: 'always' },
  },
});

const root = document.getElementById('root');
if (!root) {
  throw new Error('index.html has no root');
}
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <LiveProvider>
        <RouterProvider router={createBrowserRouter(routes, { basename: '/ui' })} />
      </LiveProvider>
    </QueryClientProvider>
  </StrictMode>,
);
