// The whole terminal, for a command that draws it again and again: its other screen, keys as they are pressed, and everything given back as it was,
// however the command ends.

import type { ReadStream, WriteStream } from 'node:tty';

/** A terminal that has been taken over. */
export interface Screen {
  readonly columns: number;
  readonly rows: number;
  /** Shows these lines, each of which fits into a row. */
  draw(lines: readonly string[]): void;
  /** Calls back for each key, as the bytes that the terminal sends for it. */
  onKey(listener: (key: string) => void): void;
  /** Calls back when the size has changed, and when the screen is to be drawn again. */
  onChange(listener: () => void): void;
  /** Gives the terminal back. Further calls do nothing. */
  close(): void;
}

// Other screen, no cursor, no automatic line breaks; and back.
const ENTER = '\u001B[?1049h\u001B[?25l\u001B[?7l';
const LEAVE = '\u001B[?7h\u001B[?25h\u001B[?1049l';
const HOME = '\u001B[H';
const CLEAR_LINE = '\u001B[K';
const CLEAR_BELOW = '\u001B[J';
/** Ctrl-Z: in raw mode the terminal hands it on as a key. */
const SUSPEND = '\u001A';

/** Size of a terminal that does not tell it. */
const COLUMNS_DEFAULT = 80;
const ROWS_DEFAULT = 24;

/** Takes the terminal over. */
export function openScreen(input: ReadStream, output: WriteStream): Screen {
  const keyListeners: ((key: string) => void)[] = [];
  const changeListeners: (() => void)[] = [];
  let open = true;
  const changed = (): void => {
    for (const listener of changeListeners) listener();
  };
  const enter = (): void => {
    output.write(ENTER);
    input.setRawMode(true);
    input.resume();
  };
  const leave = (): void => {
    output.write(LEAVE);
    input.setRawMode(false);
    input.pause();
  };
  const heard = (data: Buffer): void => {
    const key = data.toString('utf8');
    if (key === SUSPEND) suspend({ leave, enter, changed });
    else for (const listener of keyListeners) listener(key);
  };
  // Also when an error nobody has thought of ends the process: a terminal in raw mode is of no use to anybody.
  const atExit = (): void => {
    if (open) leave();
  };
  enter();
  input.on('data', heard);
  output.on('resize', changed);
  process.on('exit', atExit);
  return {
    get columns() {
      return output.columns || COLUMNS_DEFAULT;
    },
    get rows() {
      return output.rows || ROWS_DEFAULT;
    },
    // Cleared first: behind a line that fills its row the cursor still stands on the last letter.
    draw: (lines) =>
      void output.write(
        `${HOME}${lines.map((line) => `${CLEAR_LINE}${line}`).join('\r\n')}${lines.length < output.rows ? `\r\n${CLEAR_BELOW}` : ''}`,
      ),
    onKey: (listener) => void keyListeners.push(listener),
    onChange: (listener) => void changeListeners.push(listener),
    close: () => {
      if (!open) return;
      open = false;
      input.off('data', heard);
      output.off('resize', changed);
      process.off('exit', atExit);
      leave();
    },
  };
}

/** Stops the process as the shell's user wants, with the terminal as the shell wants it, and goes on when it is brought back. */
function suspend({ leave, enter, changed }: { leave: () => void; enter: () => void; changed: () => void }): void {
  leave();
  process.once('SIGCONT', () => {
    enter();
    changed();
  });
  // The whole job, as the terminal would: the process that launched this one, too.
  process.kill(0, 'SIGTSTP');
}
