// Property tests draw the same cases in every run of `npm test`, so that a change fails by its own doing. PROPERTY_SEED=N draws others, and
// PROPERTY_SEED=random new ones each time: run that by hand, and turn what it finds into a case of its own.

import fc from 'fast-check';

const wanted = process.env['PROPERTY_SEED'] ?? '20261123';
if (wanted !== 'random') fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(wanted) });
