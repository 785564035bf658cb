/* Added to every drawing: from what Python sends to ``build(box, choose).update(data)``, and from a choice to Python. A
   drawing that has a ``decode`` gets what that makes of the data. */
const drawn = new WeakMap();

function same(one, other) {
  if (!(one instanceof Uint8Array) || !(other instanceof Uint8Array)) return JSON.stringify(one) === JSON.stringify(other);
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

export default function (component) {
  const { parentElement, setTriggerValue, data } = component;
  const box = parentElement.querySelector(".root");
  let state = drawn.get(box);
  if (!state) {
    state = { fingerprint: "", data: undefined };
    state.drawing = build(box, (...at) => state.send("chosen", { fingerprint: state.fingerprint, at }));
    drawn.set(box, state);
  }
  state.send = setTriggerValue;
  // The page is drawn again for many reasons; a drawing only where it changes.
  if (state.data !== undefined && same(state.data, data)) return;
  // A copy: the bytes lie in a message that is not ours.
  state.data = data instanceof Uint8Array ? data.slice() : data;
  const spec = typeof decode === "function" ? decode(state.data) : data;
  state.fingerprint = spec.fingerprint;
  state.drawing.update(spec);
}
