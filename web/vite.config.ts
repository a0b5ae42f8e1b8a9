import { defineConfig } from 'vitest/config';

export default defineConfig({
  // web.go serves the build under this path.
  base: '/ui/',
  build: {
    target: 'es2022',
    // The Content-Security-Policy has no data: for fonts, and a hashed asset is cached for long.
    assetsInlineLimit: 0,
    // Small enough to be asked for as they are; the polyfill would be one more script.
    modulePreload: { polyfill: false },
    license: { fileName: 'licenses.md' },
    rolldownOptions: {
      // "use client" is for servers that render React; here is none.
      onwarn: (warning, warn) => warning.code !== 'MODULE_LEVEL_DIRECTIVE' && warn(warning),
    },
  },
  server: {
    // `npm run dev` shows the sources as they are, on the API of a running `quell dev`.
    proxy: Object.fromEntries(['/v1', '/abort-job'].map((path) => [path, process.env.QUELL_API ?? 'http://127.0.0.1:8082'])),
  },
  test: {
    include: ['src/**/*.test.ts'],
  },
});
