"""How do thunder, bells, steps, drops, clocks, phones, birds and dogs sound?

One function a sound that happens: it makes one grain for every time of its order and
adds them up. What belongs to the thing (which bell, which floor) is drawn once, what
belongs to the blow is drawn for each.
"""

from __future__ import annotations

import numpy as np

from safegen.generation.sound_parts import (
    SAMPLE_RATE,
    Floats,
    Order,
    band,
    burst,
    clock,
    drift,
    echoed,
    noise,
    phase,
    placed,
    ringing,
    slope,
)


def thunder(order: Order) -> Floats:
    """A crack if it is near, then a rumble of many arrivals."""
    dice = order.dice
    crack = dice.uniform(0.1, 1.0)
    grains = []
    for _ in order.times:
        t = clock(dice.uniform(3.5, 5.5))
        shape = drift(dice, len(t), per_second=7) ** 2 * np.exp(-t / dice.uniform(0.9, 1.8))
        rumble = noise(dice, len(t), slope(28, dice.uniform(110, 240), 0.7))
        roll = noise(dice, len(t), slope(120, 900, 0.9)) * np.exp(-t / 0.5)
        grain = (2.2 * rumble * shape + 0.5 * roll * shape) * np.minimum(1.0, t / 0.02)
        head = burst(dice, slope(300, 6000, 0.6), seconds=0.5, decay=0.09)
        grain[: len(head)] += crack * head * (0.4 + drift(dice, len(head), per_second=40))
        grains.append(grain)
    return placed(grains, order.times, order.samples)


def bell(order: Order) -> Floats:
    """A church bell: hum, prime, tierce, quint, nominal and what lies above."""
    dice = order.dice
    prime = dice.uniform(190, 620)
    ratios = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.62, 3.0, 4.1, 5.3])
    hz = prime * ratios * dice.uniform(0.99, 1.01, len(ratios))
    levels = np.array([0.5, 0.7, 0.6, 0.3, 1.0, 0.4, 0.5, 0.3, 0.2])
    decays = dice.uniform(0.9, 2.2) * (2.0 / ratios) ** 0.6
    tone = ringing(hz, levels, decays, seconds=5.0)
    # A real bell is not quite round: each mode is two, and they beat.
    tone += ringing(hz * 1.0015, 0.4 * levels, decays, seconds=5.0)
    grains = []
    for _ in order.times:
        grain = tone * dice.uniform(0.75, 1.0)
        strike = burst(dice, band(3000, 0.8), seconds=0.05, decay=0.008)
        grain[: len(strike)] += dice.uniform(0.5, 1.0) * strike
        grains.append(grain)
    return placed(grains, order.times, order.samples)


def footsteps(order: Order) -> Floats:
    """Heel and toe on wood, stone or gravel."""
    dice = order.dice
    floor = int(dice.integers(3))
    thump, click = dice.uniform(70, 150), dice.uniform(1200, 3200)
    grains = []
    for side, _ in enumerate(order.times):
        bend = 1.0 + 0.06 * (side % 2) + dice.uniform(-0.03, 0.03)
        heel = ringing((thump * bend, 2.3 * thump), (1.0, 0.5), (0.03, 0.02), seconds=0.3)
        if floor == 0:
            wood = ringing((260 * bend, 410 * bend, 690), (0.8, 0.6, 0.4), (0.04, 0.03, 0.02),
                           seconds=0.3)  # fmt: skip
            heel = heel + wood
        elif floor == 1:
            heel = 0.5 * heel + ringing((click * bend,), (0.9,), (0.006,), seconds=0.3)
            heel = heel + 0.7 * burst(dice, band(2500, 0.9), seconds=0.3, decay=0.012)
        else:
            grit = burst(dice, slope(900, 7000, 0.2), seconds=0.3, decay=0.07)
            heel = 0.4 * heel + 0.5 * grit * drift(dice, len(grit), per_second=120) ** 2 * 2
        toe = 0.35 * burst(dice, band(1500, 1.0), seconds=0.12, decay=0.02)
        start = round(dice.uniform(0.07, 0.1) * SAMPLE_RATE)
        heel[start : start + len(toe)] += toe
        grains.append(heel * dice.uniform(0.75, 1.0))
    dry = placed(grains, order.times, order.samples)
    return echoed(dice, dry, seconds=0.4, level=dice.uniform(0.1, 0.5))


def dripping(order: Order) -> Floats:
    """Bubbles: sines that rise as they die, in a room that answers."""
    dice = order.dice
    base = dice.uniform(600, 1500)
    grains = []
    for _ in order.times:
        t = clock(0.25)
        start = base * dice.uniform(0.75, 1.35)
        rise = dice.uniform(2.0, 7.0)
        plop = np.sin(2 * np.pi * phase(start * (1 + rise * t))) * np.exp(-t / 0.03)
        plop *= np.minimum(1.0, t / 0.002)
        plop[:400] += 0.25 * burst(dice, band(5000, 0.8), seconds=400 / SAMPLE_RATE, decay=0.002)
        grains.append(plop * dice.uniform(0.6, 1.0))
    dry = placed(grains, order.times, order.samples)
    return echoed(dice, dry, seconds=dice.uniform(0.5, 1.4), level=dice.uniform(0.2, 0.7))


def laser(order: Order) -> Floats:
    """Falling sweeps with side bands: the ray gun of the movies."""
    dice = order.dice
    high, low = dice.uniform(2500, 6000), dice.uniform(150, 500)
    length, index = dice.uniform(0.18, 0.45), dice.uniform(0.3, 2.5)
    grains = []
    for _ in order.times:
        t = clock(length)
        fall = np.exp(-t / (length * dice.uniform(0.2, 0.3)))
        turns = 2 * np.pi * phase(low + (high * dice.uniform(0.9, 1.1) - low) * fall)
        zap = np.sin(turns + index * np.sin(0.5 * turns)) * np.exp(-2.2 * t / length)
        grains.append(zap * np.clip((length - t) / 0.02, 0, 1))
    return placed(grains, order.times, order.samples)


def alarm(order: Order) -> Floats:
    """An electronic beeper."""
    dice = order.dice
    hz, edge = dice.uniform(900, 2300), dice.uniform(0.8, 3.0)
    spacing = float(np.median(np.diff(order.times))) if len(order.times) > 1 else 0.3
    length = min(0.6 * spacing, dice.uniform(0.08, 0.25))
    t = clock(length)
    wave = np.tanh(edge * np.sin(2 * np.pi * hz * t)) + 0.25 * np.sin(6 * np.pi * hz * t)
    beep = wave * np.minimum(1.0, np.minimum(t, length - t) / 0.004).clip(0.0)
    return placed([beep] * len(order.times), order.times, order.samples)


def clock_ticking(order: Order) -> Floats:
    """Tick and tock: the same small gear, struck from two sides."""
    dice = order.dice
    gear = dice.uniform(1800, 3600) * np.array([1.0, 1.63, 2.41])
    case = dice.uniform(350, 800)
    grains = []
    for side, _ in enumerate(order.times):
        bend = 1.0 if side % 2 else dice.uniform(0.82, 0.9)
        tick = ringing(bend * gear, (1.0, 0.7, 0.4), (0.007, 0.005, 0.003), seconds=0.1)
        tick += ringing((bend * case,), (0.5,), (0.014,), seconds=0.1)
        tick += 0.4 * burst(dice, band(5000, 0.7), seconds=0.1, decay=0.002)
        later = round(0.012 * SAMPLE_RATE)
        tick[later:] += 0.4 * tick[:-later]
        grains.append(tick)
    return placed(grains, order.times, order.samples)


def phone(order: Order) -> Floats:
    """A hammer between two gongs, or the warble of an office phone."""
    dice = order.dice
    length = dice.uniform(0.9, 1.4)
    t = clock(length)
    low = dice.uniform(900, 1500)
    high = low * dice.uniform(1.2, 1.35)
    pace = dice.uniform(9, 13)
    first = np.floor(t * 2 * pace) % 2 == 0
    if dice.uniform() < 0.6:
        hits = (t * 2 * pace) % 1.0
        fade = np.exp(-2.0 * hits)
        sound = np.zeros(len(t))
        for ratio, level in ((1.0, 1.0), (2.1, 0.5), (3.4, 0.3)):
            sound += level * np.sin(2 * np.pi * low * ratio * t) * np.where(first, fade, 0.3)
            sound += level * np.sin(2 * np.pi * high * ratio * t) * np.where(first, 0.3, fade)
    else:
        turns = 2 * np.pi * phase(np.where(first, low, high))
        sound = np.tanh(1.5 * np.sin(turns)) + 0.2 * np.sin(3 * turns)
    ring = sound * np.minimum(1.0, np.minimum(t / 0.005, (length - t) / 0.04)).clip(0.0)
    return placed([ring] * len(order.times), order.times, order.samples)


def birds(order: Order) -> Floats:
    """Whistled syllables; a song repeats its motif."""
    dice = order.dice
    center = dice.uniform(1700, 3000)
    motif = dice.uniform(0.7, 1.4, (4, 3))
    length = dice.uniform(0.12, 0.2)
    grains = []
    for place, _ in enumerate(order.times):
        t = clock(length * dice.uniform(0.85, 1.15))
        x = t / t[-1]
        a, b, c = center * motif[place % 4] * dice.uniform(0.97, 1.03)
        hz = (1 - x) * ((1 - x) * a + x * b) + x * ((1 - x) * b + x * c)
        hz = hz * (1 + dice.uniform(0.0, 0.03) * np.sin(2 * np.pi * 28 * t))
        turns = 2 * np.pi * phase(hz)
        chirp = (np.sin(turns) + 0.15 * np.sin(2 * turns)) * np.sin(np.pi * x) ** 0.5
        grains.append(chirp * dice.uniform(0.6, 1.0))
    dry = placed(grains, order.times, order.samples)
    return echoed(dice, dry, seconds=0.6, level=dice.uniform(0.05, 0.25))


def dog(order: Order) -> Floats:
    """Barks: a voice that jumps up and falls, through a throat, with breath."""
    dice = order.dice
    pitch, throat = dice.uniform(220, 520), dice.uniform(650, 1250)
    grains = []
    for _ in order.times:
        length = dice.uniform(0.14, 0.24)
        t = clock(length)
        x = t / length
        hz = pitch * dice.uniform(0.93, 1.07) * (0.75 + 0.6 * np.sin(np.pi * x**0.6))
        turns = 2 * np.pi * phase(hz)
        voice = np.zeros(len(t))
        for k in range(1, 13):
            middle = float(k * pitch * 1.2)
            level = np.exp(-0.5 * (np.log2(middle / throat) / 0.55) ** 2)
            level += 0.35 * np.exp(-0.5 * (np.log2(middle / (2.6 * throat)) / 0.35) ** 2)
            voice += (level + 0.05) * np.sin(k * turns + 0.3 * k)
        breath = noise(dice, len(t), band(1.6 * throat, 0.7))
        shape = np.minimum(1.0, x / 0.06) * (1 - x) ** 0.8
        grains.append((voice + dice.uniform(0.25, 0.6) * breath) * shape * dice.uniform(0.8, 1.0))
    dry = placed(grains, order.times, order.samples)
    return echoed(dice, dry, seconds=0.5, level=dice.uniform(0.1, 0.4))


def knocking(order: Order) -> Floats:
    """Knuckles on a wooden door."""
    dice = order.dice
    door = dice.uniform(110, 260) * np.array([1.0, 1.58, 2.24, 3.1, 4.6])
    grains = []
    for _ in order.times:
        levels = np.array([1.0, 0.8, 0.6, 0.35, 0.25]) * dice.uniform(0.7, 1.3, 5)
        blow = ringing(door, levels, (0.045, 0.035, 0.028, 0.02, 0.012), seconds=0.3)
        blow[:960] += 0.6 * burst(dice, band(1800, 0.9), seconds=0.03, decay=0.004)
        grains.append(blow * dice.uniform(0.8, 1.0))
    dry = placed(grains, order.times, order.samples)
    return echoed(dice, dry, seconds=0.35, level=dice.uniform(0.1, 0.4))


def heartbeat(order: Order) -> Floats:
    """Lub and dub, as through a stethoscope."""
    dice = order.dice
    hz = dice.uniform(48, 75)
    grains = []
    for side, _ in enumerate(order.times):
        second = side % 2 == 1
        t = clock(0.3)
        sweep = phase(hz * (1.25 if second else 1.0) * (1 + 0.6 * np.exp(-t / 0.03)))
        thump = np.sin(2 * np.pi * sweep) * np.exp(-t / (0.045 if second else 0.065))
        thump += 0.25 * burst(dice, band(140, 0.7), seconds=0.3, decay=0.03)
        grains.append(thump * (0.65 if second else 1.0) * np.minimum(1.0, t / 0.004))
    return placed(grains, order.times, order.samples)
