// What this browser keeps between visits (theme, language, keys). A browser that keeps nothing still works.

/** Return what is kept under a name, or fallback. */
export function recall(name, fallback) {
  try {
    const text = localStorage.getItem(`rtvc.${name}`);
    return text === null ? fallback : text;
  } catch {
    return fallback;
  }
}

/** Keep text under a name; null forgets it. */
export function remember(name, text) {
  try {
    if (text === null) localStorage.removeItem(`rtvc.${name}`);
    else localStorage.setItem(`rtvc.${name}`, text);
  } catch {
    // nothing is kept, and nothing depends on it
  }
}
