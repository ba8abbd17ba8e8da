// TLS on a connection, on both sides: version 1.3, both ends with a certificate of a trusted authority, and who the other end is handed on
// with the connection, so that no byte of a stranger reaches anything behind it.

import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { connect, createServer, type PeerCertificate, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import type { StreamAddress } from './stream-address.ts';
import { CIPHER_CHOICE, machineCiphers } from './tls-ciphers.ts';
import { identityText, readIdentity, type TlsIdentity } from './tls-identity.ts';
import type { ExpectedIdentity, TlsMaterial } from './tls-material.ts';

/** A handshake that takes longer is cut. */
const HANDSHAKE_MILLIS_MAX = 5_000;

/** Whether the client must show a certificate of a trusted authority. */
export type ClientCertificate = 'needed' | 'not-asked';

/** Options for a server that speaks TLS: node:tls, node:https, or an upgrade in the middle of another protocol. */
export function tlsServerOptions(material: TlsMaterial, clients: ClientCertificate = 'needed'): TlsOptions {
  const { ca, cert, key } = material.pem;
  const isNeeded = clients === 'needed';
  return {
    ca,
    cert,
    key,
    ciphers: machineCiphers,
    honorCipherOrder: true,
    secureOptions: CIPHER_CHOICE,
    minVersion: 'TLSv1.3',
    requestCert: isNeeded,
    rejectUnauthorized: isNeeded,
    handshakeTimeout: HANDSHAKE_MILLIS_MAX,
    sessionTimeout: 1,
  };
}

/** Lets a listening TLS server take new certificates with each reload. */
export function followMaterial(server: Pick<Server, 'setSecureContext' | 'on'>, material: TlsMaterial): void {
  const forget = material.onChange(() => server.setSecureContext(tlsServerOptions(material)));
  server.on('close', forget);
}

/** What the other end of a connection has shown. */
export interface PeerProof {
  /** Null when no certificate was shown, or one that names nobody of Tercet. */
  readonly identity: TlsIdentity | null;
  /** When the certificate stops being valid, in milliseconds of the wall clock; NaN without one. */
  readonly expiresAt: number;
}

/** What the other end of a connection has shown whose handshake is done. To be asked once: a client has the certificate the first time only (Node.js 24). */
function peerProof(socket: TLSSocket): PeerProof {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return { identity: null, expiresAt: NaN };
  return { identity: readIdentity(certificate), expiresAt: Date.parse(certificate.validTo) };
}

/** Who a server has at the other end, which may be asked again; null for a certificate that names nobody of Tercet. */
export function peerIdentity(socket: TLSSocket): TlsIdentity | null {
  return peerProof(socket).identity;
}

/**
 * Of hosts, whose libraries and policies are their own, version 1.2 is taken too, as the NBD document wants it. Keys are never changed in the middle
 * of a connection, and no connection is resumed.
 */
const HOST_OPTIONS = {
  minVersion: 'TLSv1.2',
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION | CIPHER_CHOICE,
} as const;

/** What came of a handshake. */
export type Handshake = ({ readonly socket: TLSSocket } & PeerProof) | { readonly failed: string };

/**
 * Makes the server's side of TLS on a connection that is in use already (NBD's STARTTLS). Nobody reads from `socket` any more. `done` is called
 * once, later. `identity` is null when no certificate was asked for.
 */
export function upgradeServer(
  socket: Socket,
  material: TlsMaterial,
  clients: ClientCertificate,
  done: (handshake: Handshake) => void,
): void {
  // One that ends in the middle of the handshake is gone; later it may still wait for answers.
  const { allowHalfOpen } = socket;
  socket.allowHalfOpen = false;
  upgrade(socket, createServer({ ...tlsServerOptions(material, clients), ...HOST_OPTIONS }), (handshake) => {
    if ('socket' in handshake) handshake.socket.allowHalfOpen = allowHalfOpen;
    done(handshake);
  });
}

/** The same for a peer, who has sent `bytes` of it already. */
export function upgradePeer(socket: Socket, material: TlsMaterial, bytes: Uint8Array, done: (handshake: Handshake) => void): void {
  // Nothing is read of it before TLS is there, which begins with what lies here.
  socket.pause();
  socket.unshift(bytes);
  // As of a connection that a server of TLS has accepted itself: else one that ends in the middle of the handshake would be waited for until that is too late.
  socket.allowHalfOpen = false;
  upgrade(socket, createServer(tlsServerOptions(material)), done);
}

function upgrade(socket: Socket, server: Server, done: (handshake: Handshake) => void): void {
  let isOver = false;
  const finish = (handshake: Handshake): void => {
    if (isOver) return;
    isOver = true;
    done(handshake);
  };
  server.on('secureConnection', (secured) => finish({ socket: secured, ...peerProof(secured) }));
  server.on('tlsClientError', (error: NodeJS.ErrnoException, failed) => {
    failed.destroy();
    finish({ failed: tlsReason(error) });
  });
  socket.once('close', () => finish({ failed: 'closed by the other side' }));
  server.emit('connection', socket);
}

/**
 * The client's side of the same. `expected`: who must be at the other end. `done` is called once, later.
 */
export function upgradeClient(
  socket: Socket,
  material: TlsMaterial,
  expected: ExpectedIdentity,
  done: (handshake: Handshake) => void,
): void {
  const secured = connect({ socket, ...tlsClientOptions(material, expected) });
  let isOver = false;
  const finish = (handshake: Handshake): void => {
    if (isOver) return;
    isOver = true;
    secured.off('error', failed);
    if ('failed' in handshake) {
      secured.on('error', () => undefined);
      secured.destroy();
    }
    done(handshake);
  };
  const failed = (error: NodeJS.ErrnoException): void => finish({ failed: tlsReason(error) });
  secured.on('error', failed);
  socket.once('close', () => finish({ failed: 'closed by the other side' }));
  secured.once('secureConnect', () => finish({ socket: secured, ...peerProof(secured) }));
}

/** A connection whose other end has the identity that was expected. */
export interface Connected extends PeerProof {
  readonly socket: TLSSocket;
  readonly identity: TlsIdentity;
}

/** Opens a TLS connection. `protocol`: offered in the clear. `done` is called once, later; with a socket whose other end has the identity that is expected. Returns what gives up. */
export function connectTls(
  address: StreamAddress,
  { material, expected, protocol }: { readonly material: TlsMaterial; readonly expected: ExpectedIdentity; readonly protocol?: string },
  done: (handshake: Connected | { readonly failed: string }) => void,
): () => void {
  const offered = protocol === undefined ? {} : { ALPNProtocols: [protocol] };
  const socket = connect({ ...address, ...tlsClientOptions(material, expected), ...offered });
  let isOver = false;
  const fail = (reason: string): void => {
    if (isOver) return;
    isOver = true;
    socket.destroy();
    done({ failed: reason });
  };
  const failed = (error: NodeJS.ErrnoException): void => fail(tlsReason(error));
  const closed = (): void => fail('closed by the other side');
  socket.on('error', failed);
  socket.once('close', closed);
  socket.once('secureConnect', () => {
    if (isOver) return;
    const { identity, expiresAt } = peerProof(socket);
    if (identity === null) {
      fail('its certificate names nobody of Tercet');
      return;
    }
    isOver = true;
    socket.off('close', closed);
    done({ socket, identity, expiresAt });
    // Whoever took it listens by now.
    socket.off('error', failed);
  });
  return () => {
    isOver = true;
    socket.destroy();
  };
}

interface TlsClientOptions {
  readonly secureContext: TlsMaterial['context'];
  readonly rejectUnauthorized: true;
  readonly minVersion: 'TLSv1.3';
  readonly servername: '';
  checkServerIdentity(host: string, certificate: PeerCertificate): Error | undefined;
}

/**
 * Options for the client's side. The host's name is not looked at: sites and the witness are known by the identity in their certificates,
 * which is checked before a byte is sent.
 */
export function tlsClientOptions(material: TlsMaterial, expected: ExpectedIdentity): TlsClientOptions {
  return {
    secureContext: material.context,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    servername: '',
    checkServerIdentity: (_host, certificate) => {
      const identity = readIdentity({ subjectAltName: certificate.subjectaltname });
      if (identity !== null && identity.kind === expected.kind && identity.name === expected.name) return undefined;
      const found = identity === null ? 'nobody of Tercet' : identityText(identity);
      return new Error(`the certificate there is that of ${found}, not of ${identityText({ ...expected, groups: null })}`);
    },
  };
}

const REASONS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet: are the clocks right?',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is of another authority',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate is of another authority',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is of another authority',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is of another authority',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is of another authority',
  CERT_SIGNATURE_FAILURE: 'its certificate is of another authority',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'it shows no certificate',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS',
  ERR_SSL_HTTP_REQUEST: 'it does not speak TLS',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it does not speak TLS',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'it does not speak TLS 1.3',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 'it does not speak TLS 1.3',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'it wants a certificate',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: 'it says that the certificate here has expired',
  'ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED': 'it says that the certificate here has expired',
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'it says that the certificate here is of another authority',
  ERR_TLS_HANDSHAKE_TIMEOUT: 'it did not finish the handshake in time',
};

/** Why a handshake failed, for people. */
export function tlsReason(error: NodeJS.ErrnoException): string {
  const code = error.code ?? error.message;
  return REASONS[code] === undefined ? code : `${REASONS[code]} (${code})`;
}
