// obs-websocket 5's challenge: the token itself never travels.

const encode = (text) => new TextEncoder().encode(text);

/** Return whether this page may compute the answer: browsers offer it on localhost and https only. */
export const canAnswer = () => Boolean(globalThis.crypto?.subtle);

/** Return the answer to a challenge: base64(sha256(base64(sha256(token + salt)) + challenge)). */
export async function answer(token, { challenge, salt }) {
  return digest((await digest(token + salt)) + challenge);
}

async function digest(text) {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", encode(text)));
  return btoa(String.fromCharCode(...bytes));
}
