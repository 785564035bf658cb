/* Added to every drawing: from what Python sends to ``build(box, choose).update(data)``, and from a choice to Python. A
   drawing that has a ``decode`` gets what that makes of the data. */
const drawn = new WeakMap();

function same(one, other) {
  if (!(one instanceof Uint8Array) || !(other instanceof Uint8Array)) return JSON.stringify(one) === JSON.stringify(other);
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/* The header of ``framed`` in Python, and a function that takes as many of the bytes behind it as it is told. */
function opened(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const spec = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let at = 4 + length;
  return { spec, next: (count) => bytes.subarray(at, (at += count)) };
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
