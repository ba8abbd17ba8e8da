// Tells the service manager (systemd) how the process is: ready, reloading, stopping, and alive. One datagram each to the socket that it names;
// Node has no such sockets, so the C library is asked. Without a service manager nothing is sent.

import koffi from 'koffi';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
/** Neither a signal nor a wait: a manager that is slow must not hold up the volumes. */
const MSG_FLAGS = 0x4000 | 0x40;
/** sun_path of struct sockaddr_un. */
const PATH_BYTES_MAX = 107;

/** Whether the datagram was taken. */
type Send = (datagram: Uint8Array) => boolean;

/** What a manager that takes nothing now gets later; what is more is left out. */
const WAITING_MAX = 16;
const AGAIN_MILLIS = 20;

/** The manager of this process; null where there is none. */
export class ServiceManager {
  readonly #send: Send;
  readonly #waiting: Uint8Array[] = [];
  #timer: NodeJS.Timeout | null = null;
  /** How often it wants to hear that the process is alive; null: never. */
  readonly watchdogMillis: number | null;

  /** `env` is that of the process: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. */
  static open(env: Readonly<Record<string, string | undefined>>): ServiceManager | null {
    const path = env['NOTIFY_SOCKET'] ?? '';
    const send = path === '' ? null : senderTo(path);
    if (send === null) return null;
    const micros = Number(env['WATCHDOG_USEC'] ?? '');
    const mine = env['WATCHDOG_PID'] === undefined || env['WATCHDOG_PID'] === String(process.pid);
    return new ServiceManager(send, mine && Number.isSafeInteger(micros) && micros > 0 ? micros / 1000 : null);
  }

  private constructor(send: Send, watchdogMillis: number | null) {
    this.#send = send;
    this.watchdogMillis = watchdogMillis;
  }

  /** States as sd_notify(3) names them: READY=1, STATUS=... */
  tell(states: Readonly<Record<string, string>>): void {
    const lines = Object.entries(states).map(([name, value]) => `${name}=${value.replaceAll('\n', ' ')}`);
    if (this.#waiting.length < WAITING_MAX) this.#waiting.push(Buffer.from(lines.join('\n')));
    this.#flush();
  }

  /** In order: a manager whose queue is full gets the rest a moment later, and nobody waits for it. */
  #flush(): void {
    for (let next = this.#waiting[0]; next !== undefined && this.#send(next); next = this.#waiting[0]) this.#waiting.shift();
    if (this.#waiting.length === 0 || this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#flush();
    }, AGAIN_MILLIS);
    this.#timer.unref();
  }
}

/** Sends to a unix datagram socket: a path, or '@' and a name of the abstract ones. null when that is impossible here. */
function senderTo(path: string): Send | null {
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : path);
  if (name.length > PATH_BYTES_MAX || !/^[@/]/.test(path)) return null;
  const address = Buffer.concat([Buffer.from(Uint16Array.of(AF_UNIX).buffer), name]);
  const library = koffi.load('libc.so.6');
  const socket = library.func('int socket(int, int, int)') as unknown as (...args: number[]) => number;
  const sendto = library.func('long sendto(int, void *, size_t, int, void *, uint32_t)') as unknown as (
    fd: number,
    bytes: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number,
  ) => number;
  const fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return null;
  // A manager that does not listen any more is no reason to stop: whoever is not heard is asked, or ended, by it.
  return (datagram) => sendto(fd, datagram, datagram.length, MSG_FLAGS, address, address.length) >= 0;
}
