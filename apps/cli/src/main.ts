#!/usr/bin/env node
import 'reflect-metadata';
import { useApplication } from './application.js';

// What the command line works with is read when its modules are loaded, so it has to be known before.
await useApplication(process.cwd());
await import('./run.js');
