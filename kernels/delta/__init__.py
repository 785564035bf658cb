"""Diagonal plus rank one: DeltaNet, Gated DeltaNet, KDA and RWKV-7."""
