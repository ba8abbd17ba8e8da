// What groups can do, done by groups in threads of their own: the tests of a few other files once more, with the group of each cluster in a thread. All of
// them do it that way with TERCET_E2E_THREAD=true.

process.env['TERCET_E2E_THREAD'] = 'true';
for (const file of ['members', 'overflow', 'points']) await import(`./${file}.test.ts`);
