"""How do rain, wind, waves, fire, applause, sirens, engines and helicopters sound?

One function a sound that goes on. Each draws its character (how big, how near, how old)
from the dice of its order, so that no two are alike.
"""

from __future__ import annotations

import numpy as np

from safegen.generation.sound_parts import (
    Floats,
    Order,
    band,
    burst,
    clock,
    drift,
    echoed,
    filtered,
    noise,
    phase,
    ringing,
    shower,
    slope,
)


def rain(order: Order) -> Floats:
    """Hiss of many far drops, and near drops one by one: drizzle to downpour."""
    dice = order.dice
    hiss = noise(dice, order.samples, slope(dice.uniform(700, 1800), dice.uniform(9e3, 14e3), 0.25))
    hiss *= 0.85 + 0.3 * drift(dice, order.samples, per_second=1.5)
    kernels = []
    for _ in range(12):
        hz = float(dice.choice((dice.uniform(400, 1200), dice.uniform(1500, 6000))))
        fading = dice.uniform(0.001, 0.003)
        grain = ringing((hz, 1.7 * hz), (1.0, 0.4), (fading, 0.6 * fading), seconds=0.02)
        kernels.append(grain + 0.3 * burst(dice, band(4000, 1.0), seconds=0.02, decay=0.003))
    count = dice.poisson(order.by_rate(25, 90, 260) * order.seconds)
    times = dice.uniform(0, order.seconds, count)
    levels = dice.lognormal(0.0, 0.7, count)
    near = shower(dice, kernels, samples=order.samples, times=times, levels=levels)
    return np.asarray(order.by_rate(0.12, 0.3, 0.6) * hiss + dice.uniform(0.35, 0.8) * near)


def wind(order: Order) -> Floats:
    """Noise in bands whose weight follows a wandering center: gusts that howl."""
    dice = order.dice
    speed = order.by_rate(0.25, 0.5, 1.0)
    gust = drift(dice, order.samples, per_second=speed)
    gust = 0.25 + 0.75 * gust + 0.15 * drift(dice, order.samples, per_second=4 * speed)
    low, octaves = dice.uniform(150, 320), dice.uniform(1.2, 2.4)
    center = np.log2(low) + octaves * gust
    out = 0.5 * noise(dice, order.samples, slope(40, 220, 0.6)) * gust
    width = dice.uniform(0.22, 0.4)
    for place in np.linspace(np.log2(low), np.log2(low) + octaves + 0.4, 7):
        weight = np.exp(-0.5 * np.square((center - place) / 0.35))
        out += noise(dice, order.samples, band(2.0**place, width * 0.6)) * weight * gust
    return out


def waves(order: Order) -> Floats:
    """Swells that rise, break and draw back: three bands, the bright one last."""
    dice = order.dice
    period = order.by_rate(7.0, 4.6, 3.0)
    count = int(order.seconds / period) + 3
    crests = (np.arange(count) - dice.uniform(0.2, 1.0)) * period
    crests += dice.uniform(-0.12, 0.12, count) * period
    heights = dice.uniform(0.6, 1.0, count)
    t = np.arange(0.0, order.seconds + 0.02, 0.01)[:, None]
    out = np.zeros(order.samples)
    bright = dice.uniform(3000, 6500)
    for curve, lag, rise, fall, level in (
        (slope(50, 300, 0.5), -0.1, 0.22, 0.3, 0.7),
        (slope(200, 1600, 0.5), 0.0, 0.14, 0.2, 1.0),
        (slope(900, bright, 0.3), 0.08, 0.1, 0.34, 0.8),
    ):
        x = (t - crests[None]) / period - lag
        swell = np.where(x < 0, np.exp(-np.square(x / rise)), np.exp(-np.maximum(x, 0) / fall))
        level_now = 0.08 + (swell * heights).sum(axis=1)
        at = np.arange(order.samples) / 320.0
        envelope = np.interp(at, np.arange(len(t)), level_now)
        out += level * noise(dice, order.samples, curve) * envelope
    return out


def fire(order: Order) -> Floats:
    """Crackles in clusters over a soft roar."""
    dice = order.dice
    roar = noise(dice, order.samples, slope(40, dice.uniform(200, 450), 0.5))
    roar *= 0.6 + 0.8 * drift(dice, order.samples, per_second=5)
    hiss = noise(dice, order.samples, slope(2500, 9000, 0.2))
    hiss *= drift(dice, order.samples, per_second=3) ** 2
    kernels = []
    for _ in range(8):
        hz = dice.uniform(900, 6500)
        crack = burst(dice, band(hz, 0.6), seconds=0.03, decay=dice.uniform(0.002, 0.007))
        crack[:32] += dice.uniform(1.0, 4.0) * np.hanning(32)
        kernels.append(crack)
    count = dice.poisson(order.by_rate(7, 16, 34) * order.seconds)
    seeds = dice.uniform(0, order.seconds, count)
    clusters = np.repeat(seeds, 3)
    times = clusters + np.tile([0.0, 1.0, 2.0], count) * dice.exponential(0.03, 3 * count)
    levels = dice.pareto(1.8, 3 * count).clip(0.05, 6.0) * np.tile([1.0, 0.5, 0.3], count)
    cracks = shower(dice, kernels, samples=order.samples, times=times, levels=levels)
    return np.asarray(dice.uniform(0.15, 0.35) * roar + 0.06 * hiss + cracks)


def applause(order: Order) -> Floats:
    """People who clap, each at a pace and with hands of their own."""
    dice = order.dice
    people = round(order.by_rate(9, 26, 70))
    paces = dice.uniform(2.8, 4.8, people)
    times, levels = [], []
    for pace in paces:
        count = int(order.seconds * pace) + 1
        own = dice.uniform(0, 0.4) + np.arange(count) / pace
        times.append(own + dice.normal(0, 0.02, count))
        levels.append(dice.uniform(0.3, 1.0) * dice.lognormal(0, 0.25, count))
    at, loud = np.concatenate(times), np.concatenate(levels)
    keep = at >= 0
    kernels = []
    for _ in range(10):
        hz = dice.uniform(700, 2600)
        clap = burst(dice, band(hz, 0.45), seconds=0.05, decay=dice.uniform(0.004, 0.01))
        kernels.append(clap + 0.3 * burst(dice, band(5000, 0.8), seconds=0.05, decay=0.004))
    return shower(dice, kernels, samples=order.samples, times=at[keep], levels=loud[keep])


def siren(order: Order) -> Floats:
    """Slow wail, two-tone horn or fast yelp, through a loudspeaker."""
    dice = order.dice
    t = clock(order.seconds)[: order.samples]
    low = dice.uniform(450, 700)
    high = low * dice.uniform(1.7, 2.4)
    if order.rate == 1:
        high = low * dice.uniform(1.25, 1.5)
        turn = (t * dice.uniform(0.8, 1.3)) % 1.0
        sweep = 0.5 + 0.5 * np.tanh(40 * (np.abs(turn - 0.5) - 0.25))
    else:
        cycles = order.by_rate(0.22, 0.0, 3.2)
        turn = (t * cycles + dice.uniform(0, 1)) % 1.0
        top = dice.uniform(0.35, 0.6)
        sweep = np.where(turn < top, turn / top, (1 - turn) / (1 - top))
        sweep = np.sin(0.5 * np.pi * sweep) ** 2
    turns = 2 * np.pi * phase(low * (high / low) ** sweep)
    tone = np.sin(turns) + 0.45 * np.sin(2 * turns) + 0.35 * np.sin(3 * turns)
    tone = np.tanh(dice.uniform(0.8, 2.0) * tone)
    level = 0.85 + 0.15 * drift(dice, order.samples, per_second=1.0)
    return echoed(dice, tone * level, seconds=0.7, level=dice.uniform(0.1, 0.4))


def engine(order: Order) -> Floats:
    """Firing pulses and the noise they carry, through a body that resonates."""
    dice = order.dice
    firing = order.by_rate(24, 42, 78)
    wander = 1 + dice.uniform(0.02, 0.2) * (drift(dice, order.samples, per_second=0.6) - 0.5)
    turns = phase(firing * wander)
    pulse = np.exp(dice.uniform(3, 8) * (np.cos(2 * np.pi * turns) - 1))
    # Cylinders differ, so half and quarter orders are heard as well.
    pulse *= 1 + 0.3 * np.cos(np.pi * turns + 1.0) + 0.15 * np.cos(0.5 * np.pi * turns)
    grit = noise(dice, order.samples, slope(150, 4500, 0.6))
    bodies = [band(hz, 0.4) for hz in dice.uniform(70, 900, 4)]
    levels = dice.uniform(0.4, 1.0, 4)

    def body(frequencies: Floats) -> Floats:
        peaks = sum(x * b(frequencies) for x, b in zip(levels, bodies, strict=True))
        return np.asarray(0.2 / (1 + (frequencies / 1500) ** 2) + peaks)

    rough = pulse * (1 + dice.uniform(0.15, 0.5) * grit)
    return filtered(rough - rough.mean(), body)


def helicopter(order: Order) -> Floats:
    """Blades that slap the air, and a turbine above them."""
    dice = order.dice
    t = clock(order.seconds)[: order.samples]
    pace = order.by_rate(9, 13, 19)
    turns = t * pace + 0.02 * np.sin(2 * np.pi * 0.3 * t)
    slap = np.exp(dice.uniform(3, 6) * (np.cos(2 * np.pi * turns) - 1))
    thump = noise(dice, order.samples, slope(35, 260, 0.5)) * slap
    chop = noise(dice, order.samples, slope(250, dice.uniform(1200, 2600), 0.6)) * slap**1.5
    rush = noise(dice, order.samples, slope(200, 3000, 0.8))
    whine_hz = dice.uniform(1800, 3800) * (1 + 0.01 * drift(dice, order.samples, per_second=2))
    whine = np.sin(2 * np.pi * phase(whine_hz))
    near = 0.8 + 0.4 * drift(dice, order.samples, per_second=0.3)
    mix = thump + 0.8 * chop + 0.12 * rush + dice.uniform(0.0, 0.05) * whine
    return np.asarray(mix * near)
