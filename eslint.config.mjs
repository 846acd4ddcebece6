import js from '@eslint/js';
import markdown from '@eslint/markdown';
import markdownLinks from 'eslint-plugin-markdown-links';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  // Applications of their own: their own compilers check them, in a test.
  { ignores: ['dist/', '**/node_modules/', '.waylog/', 'bench/results/', 'test/hosts/'] },
  { files: ['**/*.{js,mjs,cjs,ts}'], ...js.configs.recommended },
  {
    // Links between documents: the file must be there, and the heading that a # names. Nothing is asked of the network.
    files: ['**/*.md'],
    plugins: { markdown, 'markdown-links': markdownLinks },
    language: 'markdown/gfm',
    rules: {
      'markdown-links/no-missing-path': ['error', { checkAnchor: true }],
      'markdown-links/no-missing-fragments': 'error',
    },
  },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Nest modules and marker classes are empty by design.
      '@typescript-eslint/no-extraneous-class': 'off',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // No promise is dropped, not even with `void`: it is awaited, or what becomes of its failure is said.
      // `endClient` swallows its own: a connection that cannot be ended is cut.
      '@typescript-eslint/no-floating-promises': [
        'error',
        { ignoreVoid: false, allowForKnownSafeCalls: [{ from: 'file', name: 'endClient' }] },
      ],
      // Nor by a callback that promises where nobody waits.
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/require-await': 'error',
      // Input classes carry rules and are plain data otherwise: object literals stand for them, and they are spread.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/no-misused-spread': 'off',
      // A constructor that only narrows its parameters is how a command says its fields.
      '@typescript-eslint/no-useless-constructor': 'off',
    },
  },
  {
    files: ['**/*.spec.ts', 'test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      // Tests look into answers of every shape.
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/restrict-plus-operands': 'off',
    },
  },
  {
    files: ['**/*.mjs', '**/*.cjs'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        require: 'readonly',
        module: 'writable',
        __dirname: 'readonly',
        URL: 'readonly',
        AbortController: 'readonly',
      },
    },
  },
);
