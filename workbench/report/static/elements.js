/* What every drawing needs. Included before strip.js and matrix.js, in reports and in the explorer alike. */
const Elements = (() => {
  function make(tag, className, parent) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (parent) parent.append(element);
    return element;
  }

  function number(value) {
    if (value === 0) return "0";
    if (!Number.isFinite(value)) return "not a number";
    const size = Math.abs(value);
    if (size < 0.001 || size >= 1e6) return value.toExponential(2);
    return size < 1000 ? value.toFixed(3) : Math.round(value).toLocaleString("en");
  }

  /* Light text stands on a dark page, whatever made it dark: the system, or a setting of the app. */
  function dark(element) {
    const parts = getComputedStyle(element).color.match(/[\d.]+/g);
    return !!parts && 0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2] > 140;
  }

  return { make, number, dark };
})();
