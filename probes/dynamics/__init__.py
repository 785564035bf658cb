"""Dynamics of recurrent networks: fixed points, Jacobian spectra, Lyapunov exponents, orbits, silenced units."""
