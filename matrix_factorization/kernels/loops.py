# mypy: ignore-errors
# (Numba gives these functions their types when it compiles them; mypy cannot see them.)
"""Compiled inner loops: half sweeps, the exact gauge step, filters and counts.

Every kernel is `nogil` and works on a range of rows or chunks, so several Python threads run it side by side (see `workers.py`). We
considered numba's own `parallel=True`: its OpenMP layer aborts in a forked child, its work-queue layer when two Python threads
enter it, and it compiles five times longer. Chunks depend on the data only and their partial sums are added in order, so the result
has the same bits whatever the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from matrix_factorization.kernels.simd import part_sums, row_sums

TWO = np.uint32(2)
CODE_MASK = np.uint32(3)
HALF = np.float32(0.5)
# Rows of up to so many ratings are summed at once, longer ones value by value.
SHORT_ROW = 48
# A table of more rows than this (8 bytes each) does not stay in a core's own cache.
NEAR_ROWS = 1 << 16

# What a half sweep reports per chunk of rows, in sums, not means: how far the objective fell, the rows' squared errors and penalties after the
# solve, the sum of their residuals, and the first and second moments of the parameters just solved.
DECREASE, OBJECTIVE, RESIDUAL, SUM_I, SUM_F, SUM_II, SUM_IF, SUM_FF = range(8)
N_PARTIAL = 8


@njit(nogil=True, cache=True, error_model="numpy")
def half_sweep(
    parts, stream, weight, other, own, mu, ridge_i, ridge_f, gauge, bounds, lo, hi, partial
):  # pragma: no cover - compiled
    """Solve every row of chunks lo..hi-1 exactly, the other side held fixed.

    A row's ratings r with the other side's (x, f): minimise sum w (r - mu - x - i - f g)^2 + ridge_i i^2 + ridge_f g^2 over (i, g),
    a 2 x 2 system. `parts`: where each row's ratings of value 0, 1/2 and 1 begin; `weight`: one a rating, or empty. `other`, `own`: (n, 2)
    float32 pairs (intercept, factor); sums in float64. `gauge`: (c, s, t, beta) not yet applied to `own` (see `gauge_step`): only needed to
    know from where the objective fell.
    """
    far = len(other) > NEAR_ROWS
    c, s, t, beta = gauge[0], gauge[1], gauge[2], gauge[3]
    for chunk in range(lo, hi):
        decrease = objective = residual = 0.0
        m_i = m_f = m_ii = m_if = m_ff = 0.0
        for row in range(bounds[chunk], bounds[chunk + 1]):
            p0 = parts[3 * row]
            p3 = parts[3 * row + 3]
            if len(weight):
                n, sf, sff, sy, syf, syy = weighted_sums(stream, weight, p0, p3, other, mu)
            else:
                p1 = parts[3 * row + 1]
                p2 = parts[3 * row + 2]
                n = np.float64(p3 - p0)
                n1 = np.float64(p2 - p1)
                n2 = np.float64(p3 - p2)
                if p3 - p0 <= SHORT_ROW:
                    sx, sf, sxf, sff, sxx, srx, srf = row_sums(stream, p0, p3, other, far)
                    srx *= 0.5
                    srf *= 0.5
                else:
                    x0, f0, xf0, ff0, xx0 = part_sums(stream, p0, p1, other, far)
                    x1, f1, xf1, ff1, xx1 = part_sums(stream, p1, p2, other, far)
                    x2, f2, xf2, ff2, xx2 = part_sums(stream, p2, p3, other, far)
                    sx = x0 + x1 + x2
                    sf = f0 + f1 + f2
                    sxf = xf0 + xf1 + xf2
                    sff = ff0 + ff1 + ff2
                    sxx = xx0 + xx1 + xx2
                    srx = 0.5 * x1 + x2
                    srf = 0.5 * f1 + f2
                sr = 0.5 * n1 + n2
                sy = sr - sx - mu * n
                syf = srf - sxf - mu * sf
                # The sum of (r - mu - x)^2.
                syy = sxx - 2.0 * srx + 0.25 * n1 + n2 - 2.0 * mu * (sr - sx) + mu * mu * n
            a11 = n + ridge_i
            a22 = sff + ridge_f
            i, g = solve_2x2(a11, sf, a22, sy, syf)
            before_g = np.float64(own[row, 1])
            di = i - (np.float64(own[row, 0]) - s * before_g + beta)
            dg = g - (before_g + t) / c
            decrease += a11 * di * di + 2.0 * sf * di * dg + a22 * dg * dg
            objective += syy - i * sy - g * syf
            residual += sy - n * i - sf * g
            own[row, 0] = i
            own[row, 1] = g
            m_i += i
            m_f += g
            m_ii += i * i
            m_if += i * g
            m_ff += g * g
        partial[chunk, DECREASE] = decrease
        partial[chunk, OBJECTIVE] = objective
        partial[chunk, RESIDUAL] = residual
        partial[chunk, SUM_I] = m_i
        partial[chunk, SUM_F] = m_f
        partial[chunk, SUM_II] = m_ii
        partial[chunk, SUM_IF] = m_if
        partial[chunk, SUM_FF] = m_ff


@njit(nogil=True, cache=True, error_model="numpy")
def weighted_sums(stream, weight, first, last, other, mu):  # pragma: no cover - compiled
    """Weighted sums over ratings first..last-1, with y = r - mu - x: (1, f, f^2, y, y f, y^2)."""
    n = sf = sff = sy = syf = syy = 0.0
    for k in range(first, last):
        packed = stream[k]
        w = np.float64(weight[k])
        j = packed >> TWO
        f = np.float64(other[j, 1])
        y = np.float64(np.float32(packed & CODE_MASK) * HALF - other[j, 0]) - mu
        n += w
        sf += w * f
        sff += w * f * f
        sy += w * y
        syf += w * y * f
        syy += w * y * y
    return n, sf, sff, sy, syf, syy


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def solve_2x2(a11, a12, a22, r1, r2):  # pragma: no cover - compiled
    """Solution of [[a11, a12], [a12, a22]] x = r; what is not determined (no ratings and no ridge) is zero."""
    det = a11 * a22 - a12 * a12
    if det > 1e-14 * a11 * a22:
        return (a22 * r1 - a12 * r2) / det, (a11 * r2 - a12 * r1) / det
    if a11 > 0.0:
        return r1 / a11, 0.0
    return 0.0, 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def degrees_of_freedom(start, stream, factor, ridge_i, ridge_f):  # pragma: no cover - compiled
    """Sum over rows of the trace of (G + ridge)^-1 G, G the row's 2 x 2 Gram matrix of [1, factor]."""
    total = 0.0
    for row in range(len(start) - 1):
        n = np.float64(start[row + 1] - start[row])
        sf = 0.0
        sff = 0.0
        for k in range(start[row], start[row + 1]):
            f = factor[stream[k] >> TWO]
            sf += f
            sff += f * f
        det = (n + ridge_i) * (sff + ridge_f) - sf * sf
        if det > 0.0:
            total += ((sff + ridge_f) * n - 2.0 * sf * sf + (n + ridge_i) * sff) / det
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def gauge_step(raters, notes, mu, ridges):  # pragma: no cover - compiled
    """Exact minimum of the penalties along the directions in which no prediction changes.

    f' = c (f + s), g' = (g + t) / c, a' = a - t f + alpha, b' = b - s g + beta, mu' = mu - s t - alpha - beta leave every
    mu + a + b + f g as it is. `raters`, `notes`: (n, S_i, S_f, S_ii, S_if, S_ff) moments of (a, f) and (b, g); `ridges`: weights of
    a^2, f^2, b^2, g^2 (per row) and mu^2. For given s, t the best c is known in closed form; Newton's method with a growing damping
    finds (s, t, alpha, beta); every accepted step lowers the penalty, so the step never raises the objective.
    Returns (c, s, t, alpha, beta, decrease).
    """
    ra = ridges[0]
    rf = ridges[1]
    rb = ridges[2]
    rg = ridges[3]
    rm = ridges[4]
    u, sa, sf, saa, saf, sff = raters[0], raters[1], raters[2], raters[3], raters[4], raters[5]
    n, sb, sg, sbb, sbg, sgg = notes[0], notes[1], notes[2], notes[3], notes[4], notes[5]
    z = np.zeros(4)
    best = _penalty(z, ra, rf, rb, rg, rm, u, sa, sf, saa, saf, sff, n, sb, sg, sbb, sbg, sgg, mu)
    at_rest = ra * saa + rf * sff + rb * sbb + rg * sgg + rm * mu * mu
    damping = 1e-9
    grad = np.zeros(4)
    hess = np.zeros((4, 4))
    if sff <= 0.0 or sgg <= 0.0:
        return 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for _ in range(60):
        s, t, al, be = z[0], z[1], z[2], z[3]
        # 2 K sqrt(P Q): the two factor penalties after the best c.
        p = sff + 2.0 * s * sf + u * s * s
        q = sgg + 2.0 * t * sg + n * t * t
        if p <= 0.0 or q <= 0.0:
            break
        k = np.sqrt(rf * rg)
        rp = np.sqrt(p)
        rq = np.sqrt(q)
        dp = (sf + u * s) / rp
        dq = (sg + n * t) / rq
        ddp = (u - dp * dp) / rp
        ddq = (n - dq * dq) / rq
        m = mu - s * t - al - be
        grad[0] = 2.0 * k * dp * rq + 2.0 * rb * (s * sgg - sbg - be * sg) - 2.0 * rm * m * t
        grad[1] = 2.0 * k * rp * dq + 2.0 * ra * (t * sff - saf - al * sf) - 2.0 * rm * m * s
        grad[2] = 2.0 * ra * (sa - t * sf + u * al) - 2.0 * rm * m
        grad[3] = 2.0 * rb * (sb - s * sg + n * be) - 2.0 * rm * m
        hess[0, 0] = 2.0 * k * ddp * rq + 2.0 * rb * sgg + 2.0 * rm * t * t
        hess[1, 1] = 2.0 * k * rp * ddq + 2.0 * ra * sff + 2.0 * rm * s * s
        hess[0, 1] = 2.0 * k * dp * dq + 2.0 * rm * (s * t - m)
        hess[0, 2] = 2.0 * rm * t
        hess[0, 3] = -2.0 * rb * sg + 2.0 * rm * t
        hess[1, 2] = -2.0 * ra * sf + 2.0 * rm * s
        hess[1, 3] = 2.0 * rm * s
        hess[2, 2] = 2.0 * ra * u + 2.0 * rm
        hess[3, 3] = 2.0 * rb * n + 2.0 * rm
        hess[2, 3] = 2.0 * rm
        improved = False
        for _try in range(30):
            step = _solve_4(hess, grad, damping)
            trial = z - step
            value = _penalty(trial, ra, rf, rb, rg, rm, u, sa, sf, saa, saf, sff, n, sb, sg, sbb, sbg, sgg, mu)
            if value < best:
                improved = best - value > 1e-15 * at_rest
                z = trial
                best = value
                damping = max(damping * 0.1, 1e-12)
                break
            damping = max(damping, 1e-12) * 10.0
        if not improved:
            break
    s, t = z[0], z[1]
    p = sff + 2.0 * s * sf + u * s * s
    q = sgg + 2.0 * t * sg + n * t * t
    c = 1.0
    if rf * p > 0.0 and rg * q > 0.0:
        c = (rg * q / (rf * p)) ** 0.25
    else:
        return 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    return c, s, t, z[2], z[3], at_rest - best


@njit(nogil=True, cache=True, error_model="numpy")
def _penalty(
    z, ra, rf, rb, rg, rm, u, sa, sf, saa, saf, sff, n, sb, sg, sbb, sbg, sgg, mu
):  # pragma: no cover - compiled
    s, t, al, be = z[0], z[1], z[2], z[3]
    p = max(sff + 2.0 * s * sf + u * s * s, 0.0)
    q = max(sgg + 2.0 * t * sg + n * t * t, 0.0)
    a = saa + t * t * sff + u * al * al - 2.0 * t * saf + 2.0 * al * sa - 2.0 * t * al * sf
    b = sbb + s * s * sgg + n * be * be - 2.0 * s * sbg + 2.0 * be * sb - 2.0 * s * be * sg
    m = mu - s * t - al - be
    return 2.0 * np.sqrt(rf * rg * p * q) + ra * a + rb * b + rm * m * m


@njit(nogil=True, cache=True, error_model="numpy")
def _solve_4(hess, grad, damping):  # pragma: no cover - compiled
    """(H + damping diag H) x = grad by elimination; the upper triangle of H is read."""
    a = np.empty((4, 5))
    for i in range(4):
        for j in range(4):
            a[i, j] = hess[min(i, j), max(i, j)]
        a[i, i] += damping * (abs(a[i, i]) + 1e-30)
        a[i, 4] = grad[i]
    for i in range(4):
        pivot = i
        for r in range(i + 1, 4):
            if abs(a[r, i]) > abs(a[pivot, i]):
                pivot = r
        if a[pivot, i] == 0.0:
            continue
        for j in range(5):
            a[i, j], a[pivot, j] = a[pivot, j], a[i, j]
        for r in range(i + 1, 4):
            ratio = a[r, i] / a[i, i]
            for j in range(i, 5):
                a[r, j] -= ratio * a[i, j]
    x = np.zeros(4)
    for i in range(3, -1, -1):
        if a[i, i] == 0.0:
            continue
        value = a[i, 4]
        for j in range(i + 1, 4):
            value -= a[i, j] * x[j]
        x[i] = value / a[i, i]
    return x


@njit(nogil=True, cache=True, error_model="numpy")
def move_along_gauge(pairs, scale, shift_f, slope, shift_i):  # pragma: no cover - compiled
    """In place: factor -> scale (factor + shift_f), intercept -> intercept - slope * (old factor) + shift_i."""
    for row in range(pairs.shape[0]):
        i = np.float64(pairs[row, 0])
        f = np.float64(pairs[row, 1])
        pairs[row, 0] = i - slope * f + shift_i
        pairs[row, 1] = scale * (f + shift_f)


@njit(nogil=True, cache=True)
def differences(before, after, last_before, last_step, walked, change):  # pragma: no cover - compiled
    """How far a sweep began from where the last one did, and how its step differs from the last; the last ones are replaced. All (n, 2)."""
    before, after, last_before, last_step = before.ravel(), after.ravel(), last_before.ravel(), last_step.ravel()
    walked, change = walked.ravel(), change.ravel()
    for k in range(len(before)):
        step = after[k] - before[k]
        walked[k] = before[k] - last_before[k]
        change[k] = step - last_step[k]
        last_before[k] = before[k]
        last_step[k] = step


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _products(c0, c1, r, w0, w1, weight):  # pragma: no cover - compiled
    a00 = a01 = a02 = a11 = a12 = 0.0
    b00 = b01 = b10 = b11 = 0.0
    d00 = d01 = d11 = 0.0
    for k in range(len(r)):
        w = np.float64(weight[k])
        v0 = np.float64(c0[k])
        v1 = np.float64(c1[k])
        v2 = np.float64(r[k])
        v3 = np.float64(w0[k])
        v4 = np.float64(w1[k])
        u0 = w * v0
        u1 = w * v1
        u3 = w * v3
        u4 = w * v4
        a00 += u0 * v0
        a01 += u0 * v1
        a02 += u0 * v2
        a11 += u1 * v1
        a12 += u1 * v2
        b00 += u3 * v0
        b01 += u3 * v1
        b10 += u4 * v0
        b11 += u4 * v1
        d00 += u3 * v3
        d01 += u3 * v4
        d11 += u4 * v4
    return a00, a01, a02, a11, a12, b00, b01, b10, b11, d00, d01, d11


@njit(nogil=True, cache=True, error_model="numpy")
def mixing(c0, c1, r, w0, w1, weight, of_mu, weight_of_mu):  # pragma: no cover - compiled
    """(a, b, rate) of `Extrapolation`: a, b minimise |r - a c0 - b c1|; `rate` is the largest Ritz value of the map w -> w + c on the span of the w.

    `c0`, `c1`: how two sweeps' steps differ from the ones before; `w0`, `w1`: how far the sweeps began from each other; `r`: the last step; all
    (n, 2) float32. Lengths are weighted by `weight` (n, 2), and mu's share is added: `of_mu` holds the five numbers of mu,
    `weight_of_mu` its weight. (BLAS would bring threads of its own.)
    """
    a00, a01, a02, a11, a12, b00, b01, b10, b11, d00, d01, d11 = _products(
        c0.ravel(), c1.ravel(), r.ravel(), w0.ravel(), w1.ravel(), weight.ravel()
    )
    m0, m1, m2, m3, m4 = of_mu[0], of_mu[1], of_mu[2], of_mu[3], of_mu[4]
    v = weight_of_mu
    a00, a01, a02, a11, a12 = (
        a00 + v * m0 * m0,
        a01 + v * m0 * m1,
        a02 + v * m0 * m2,
        a11 + v * m1 * m1,
        a12 + v * m1 * m2,
    )
    b00, b01, b10, b11 = b00 + v * m3 * m0, b01 + v * m3 * m1, b10 + v * m4 * m0, b11 + v * m4 * m1
    d00, d01, d11 = d00 + v * m3 * m3, d01 + v * m3 * m4, d11 + v * m4 * m4
    # A touch of ridge: after a while both differences point the same way.
    ridge = 1e-10 * (a00 + a11)
    first, second = solve_2x2(a00 + ridge, a01, a11 + ridge, a02, a12)
    # Ritz: largest q with (image - q gram) singular, image = gram + (walked x change), made symmetric.
    i00, i01, i11 = d00 + b00, d01 + 0.5 * (b01 + b10), d11 + b11
    det = d00 * d11 - d01 * d01
    if det > 1e-8 * d00 * d11:
        half = 0.5 * (i00 * d11 + i11 * d00 - 2.0 * i01 * d01) / det
        rest = half * half - (i00 * i11 - i01 * i01) / det
        rate = half + np.sqrt(max(rest, 0.0))
    elif d00 + d11 > 0.0:
        rate = (i00 + i11) / (d00 + d11)
    else:
        rate = 0.0
    return first, second, min(max(rate, 0.0), 0.99)


@njit(nogil=True, cache=True)
def mixed(after, w0, w1, c0, c1, first, second, out):  # pragma: no cover - compiled
    """out = after - first (w0 + c0) - second (w1 + c1), all (n, 2) float32."""
    flat = out.ravel()
    after, w0, w1, c0, c1 = after.ravel(), w0.ravel(), w1.ravel(), c0.ravel(), c1.ravel()
    for k in range(len(flat)):
        flat[k] = after[k] - first * (np.float64(w0[k]) + c0[k]) - second * (np.float64(w1[k]) + c1[k])


@njit(nogil=True, cache=True)
def peel(note_start, by_note, min_note, min_rater, note_alive, rater_alive):  # pragma: no cover - compiled
    """Mark notes with `min_note` ratings, then raters with `min_rater` ratings of those, then notes with `min_note` ratings by those."""
    n_notes = len(note_start) - 1
    degree = np.zeros(len(rater_alive), np.int64)
    for i in range(n_notes):
        if note_start[i + 1] - note_start[i] >= min_note:
            for k in range(note_start[i], note_start[i + 1]):
                degree[by_note[k] >> TWO] += 1
    rated = np.zeros(len(rater_alive), np.bool_)
    for i in range(n_notes):
        left = 0
        for k in range(note_start[i], note_start[i + 1]):
            left += degree[by_note[k] >> TWO] >= min_rater
        note_alive[i] = left >= min_note
        if note_alive[i]:
            for k in range(note_start[i], note_start[i + 1]):
                rated[by_note[k] >> TWO] = True
    for u in range(len(rater_alive)):
        rater_alive[u] = rated[u] and degree[u] >= min_rater


@njit(nogil=True, cache=True)
def count_by_side(note_start, by_note, rater_factor, counts):  # pragma: no cover - compiled
    """Fill `counts` (n_notes, 2, 3): ratings by side of the rater's factor (0: below zero, 1: zero or above) and by code.

    A rater without a factor (NaN) is counted on neither side. X counts zero as positive (`get_note_counts_by_rater_sign`).
    """
    for row in range(len(note_start) - 1):
        for k in range(note_start[row], note_start[row + 1]):
            packed = by_note[k]
            f = rater_factor[packed >> TWO]
            if f < 0.0:
                counts[row, 0, packed & CODE_MASK] += 1
            elif f >= 0.0:
                counts[row, 1, packed & CODE_MASK] += 1


@njit(nogil=True, cache=True)
def components(note_start, by_note, n_raters):  # pragma: no cover - compiled
    """Component number of every rater and note of the rating graph, numbered by their smallest rater; union by path halving.

    Returns (rater_component, note_component); notes without ratings get -1.
    """
    parent = np.arange(n_raters)
    for row in range(len(note_start) - 1):
        if note_start[row + 1] == note_start[row]:
            continue
        root = np.int64(by_note[note_start[row]] >> TWO)
        while parent[root] != root:
            parent[root] = parent[parent[root]]
            root = parent[root]
        for k in range(note_start[row] + 1, note_start[row + 1]):
            u = np.int64(by_note[k] >> TWO)
            while parent[u] != u:
                parent[u] = parent[parent[u]]
                u = parent[u]
            if u < root:
                parent[root] = u
                root = u
            elif root < u:
                parent[u] = root
    number = np.full(n_raters, -1, np.int64)
    rater_component = np.empty(n_raters, np.int64)
    found = 0
    for u in range(n_raters):
        top = u
        while parent[top] != top:
            top = parent[top]
        if number[top] < 0:
            number[top] = found
            found += 1
        rater_component[u] = number[top]
    note_component = np.full(len(note_start) - 1, -1, np.int64)
    for row in range(len(note_start) - 1):
        if note_start[row + 1] > note_start[row]:
            note_component[row] = rater_component[by_note[note_start[row]] >> TWO]
    return rater_component, note_component
