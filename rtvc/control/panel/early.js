// Runs before the first paint, so that neither the theme nor the language flashes.
try {
  const theme = localStorage.getItem("rtvc.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  const language = localStorage.getItem("rtvc.language") || navigator.language;
  document.documentElement.lang = language.toLowerCase().startsWith("zh") ? "zh" : "en";
} catch {
  // a browser that keeps nothing: the platform's theme, English until the page has loaded
}
