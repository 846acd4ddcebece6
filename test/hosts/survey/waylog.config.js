import { flight } from 'waylog/flight';
import { survey } from './dist/survey.js';

export default { contexts: process.env.WITH_FLIGHT ? [flight, survey] : [survey] };
