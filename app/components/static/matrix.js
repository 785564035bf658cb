/* From the bytes of workbench/app/components/matrix.py to a drawing. */
function decode(bytes) {
  const { spec, next } = opened(bytes);
  spec.palettes = { light: next(1024), dark: next(1024) };
  spec.levels = next(spec.rows * spec.columns);
  // A copy, since floats must begin at a multiple of four bytes.
  spec.values = spec.exact ? new Float32Array(next(4 * spec.rows * spec.columns).slice().buffer) : null;
  return spec;
}

function build(box, choose) {
  return Matrix.create(box, { onChoose: choose });
}
