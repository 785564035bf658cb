/* From the bytes of workbench/app/components/matrix.py to a drawing. */
function decode(bytes) {
  const whole = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength).slice();
  const length = new DataView(whole.buffer).getUint32(0, true);
  const spec = JSON.parse(new TextDecoder().decode(whole.subarray(4, 4 + length)));
  let at = 4 + length;
  const next = (count) => whole.subarray(at, (at += count));
  spec.palettes = { light: next(1024), dark: next(1024) };
  spec.levels = next(spec.rows * spec.columns);
  // A copy, since floats must begin at a multiple of four bytes.
  spec.values = spec.exact ? new Float32Array(next(4 * spec.rows * spec.columns).slice().buffer) : null;
  return spec;
}

function build(box, choose) {
  return Matrix.create(box, { onChoose: choose });
}
