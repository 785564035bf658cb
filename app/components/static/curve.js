/* A line over whole numbers: pointed at, or walked along by keys, it is read out below. All colours and sizes are CSS, so
   neither a change of theme nor of width draws it again. */
const SVG = "http://www.w3.org/2000/svg";

function build(box) {
  const { make, number } = Elements;
  const frame = make("div", "curve", box);
  const title = make("span", "curve-y", frame);
  const top = make("span", "curve-top", frame);
  const bottom = make("span", "curve-bottom", frame);
  const plot = make("div", "curve-plot", frame);
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", "0 0 1000 100");
  picture.setAttribute("preserveAspectRatio", "none");
  const zero = document.createElementNS(SVG, "line");
  const line = document.createElementNS(SVG, "polyline");
  picture.append(zero, line);
  plot.append(picture);
  const mark = make("div", "curve-mark", plot);
  const ticks = make("div", "curve-ticks", frame);
  const below = make("span", "curve-x", frame);
  const readout = make("p", "strip-readout", box);
  readout.setAttribute("aria-live", "polite");
  plot.tabIndex = 0;
  plot.setAttribute("role", "img");
  let spec = null;
  let at = null;

  const across = (index) => {
    const last = Math.max(1, spec.values.length - 1);
    return spec.log ? Math.log1p(index) / Math.log1p(last) : index / last;
  };

  function read(index) {
    at = Math.min(spec.values.length - 1, Math.max(0, index));
    mark.hidden = false;
    mark.style.left = `${100 * across(at)}%`;
    readout.textContent = `${at} ${spec.unit}: ${spec.name} ${number(spec.values[at])}`;
  }

  function rest() {
    at = null;
    mark.hidden = true;
    readout.textContent = spec.resting;
  }

  plot.addEventListener("mousemove", (event) => {
    const area = plot.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - area.left) / Math.max(1, area.width)));
    const last = spec.values.length - 1;
    read(Math.round(spec.log ? Math.expm1(share * Math.log1p(Math.max(1, last))) : share * last));
  });
  plot.addEventListener("mouseleave", rest);
  plot.addEventListener("blur", rest);
  plot.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 8 : 1;
    const to = { ArrowLeft: (at ?? far) - far, ArrowRight: (at ?? -far) + far, Home: 0, End: spec.values.length - 1 }[event.key];
    if (to === undefined) return;
    read(to);
    event.preventDefault();
  });

  return {
    update(next) {
      spec = next;
      const finite = spec.values.filter(Number.isFinite);
      const high = Math.max(0, ...finite);
      const low = Math.min(0, ...finite);
      const down = (value) => 100 - (100 * (value - low)) / (high - low || 1);
      const points = spec.values.map((value, index) => (value === null ? "" : `${(1000 * across(index)).toFixed(1)},${down(value).toFixed(2)}`));
      line.setAttribute("points", points.join(" "));
      for (const [name, value] of [["x1", 0], ["x2", 1000], ["y1", down(0)], ["y2", down(0)]]) zero.setAttribute(name, value);
      title.textContent = spec.title;
      top.textContent = number(high);
      bottom.textContent = number(low);
      below.textContent = spec.across + (spec.log ? ", logarithmic" : "");
      plot.setAttribute("aria-label", `${spec.title} by ${spec.across}. The arrow keys read it out.`);
      ticks.replaceChildren();
      const last = spec.values.length - 1;
      const step = [1, 2, 5, 10, 20, 50, 100].find((one) => last / one <= 6) ?? 100;
      const places = spec.log ? [0, 1, 10, 100, 1000, 10000] : Array.from({ length: 7 }, (_, part) => part * step);
      for (const place of places.filter((one) => one <= last)) {
        const tick = make("span", "", ticks);
        tick.textContent = place;
        tick.style.left = `${100 * across(place)}%`;
      }
      rest();
    },
  };
}
