//! A twill fabric: a texture whose good images differ in place, slant, tension and light.

use super::Part;
use super::canvas::{Color, Dice, Stroke, blend, coverage, mix, render, scale, smoothstep};

pub(super) const DEFECTS: [&str; 4] = ["hole", "misweave", "scratch", "stain"];

enum Defect {
    None,
    Hole {
        x: f32,
        y: f32,
        radius: f32,
        depth: f32,
    },
    /// Threads `first..last` lie on the wrong side from `from` to `to` (in threads).
    Misweave {
        weft: bool,
        first: i32,
        last: i32,
        from: i32,
        to: i32,
    },
    Scratch {
        line: Stroke,
        width: f32,
        strength: f32,
    },
    Stain {
        x: f32,
        y: f32,
        radius: f32,
        strength: f32,
    },
}

impl Defect {
    fn new(dice: &mut Dice, kind: Option<&str>, pitch: f32) -> Defect {
        let (x, y) = (dice.range(30.0, 226.0), dice.range(30.0, 226.0));
        let strength = dice.range(0.0, 1.0);
        match kind {
            Some("hole") => Defect::Hole {
                x,
                y,
                radius: mix(3.0, 11.0, strength),
                depth: mix(0.45, 0.9, dice.range(0.0, 1.0)),
            },
            Some("misweave") => {
                let first = (dice.range(20.0, 226.0) / pitch) as i32;
                let from = (dice.range(10.0, 170.0) / pitch) as i32;
                Defect::Misweave {
                    weft: dice.coin(),
                    first,
                    last: first + mix(1.0, 4.0, strength) as i32,
                    from,
                    to: from + mix(5.0, 18.0, strength) as i32,
                }
            }
            Some("scratch") => {
                let (angle, length) = (dice.angle(), mix(30.0, 120.0, strength));
                let start = (x - 0.5 * length * angle.cos(), y - 0.5 * length * angle.sin());
                Defect::Scratch {
                    line: Stroke::wander(dice, start, angle, length, 7, 0.12),
                    width: dice.range(0.9, 2.0),
                    strength: mix(0.3, 0.8, strength) * if dice.coin() { 1.0 } else { -0.8 },
                }
            }
            Some(_) => Defect::Stain {
                x,
                y,
                radius: dice.range(12.0, 32.0),
                strength: mix(0.10, 0.42, strength),
            },
            None => Defect::None,
        }
    }
}

pub(super) fn draw(dice: &mut Dice, size: u32, defect: Option<&str>) -> Part {
    let pitch = dice.range(7.86, 7.94);
    let (phase_x, phase_y) = (dice.range(0.0, 1.0), dice.range(0.0, 1.0));
    let (sin, cos) = dice.normal(0.003).sin_cos();
    let (wave, fibre, thread, dirt, fray) = (
        dice.noise(),
        dice.noise(),
        dice.noise(),
        dice.noise(),
        dice.noise(),
    );
    let tension = dice.range(0.08, 0.15);
    let (light, contrast) = (1.0 + dice.normal(0.02), dice.range(0.95, 1.05));
    let (lean_x, lean_y) = (dice.normal(0.013), dice.normal(0.013));
    let warmth = dice.normal(0.005);
    let (warp, weft): (Color, Color) = ([0.38, 0.46, 0.56], [0.70, 0.68, 0.62]);
    let defect_here = Defect::new(dice, defect, pitch);

    let shade = |x: f32, y: f32| {
        let (cx, cy) = (x - 128.0, y - 128.0);
        let u = (cos * cx - sin * cy + 128.0 + phase_x) / pitch + tension * wave.cloud(x / 46.0, y / 46.0);
        let v =
            (sin * cx + cos * cy + 128.0 + phase_y) / pitch + tension * wave.cloud(y / 46.0 + 90.0, x / 46.0);
        let (i, j) = (u.floor() as i32, v.floor() as i32);
        let (fu, fv) = (u - u.floor() - 0.5, v - v.floor() - 0.5);

        let mut wrong = 0.0;
        if let Defect::Misweave {
            weft,
            first,
            last,
            from,
            to,
        } = defect_here
        {
            // Counted from the upper left corner of the picture, not of the endless cloth.
            let (a, b) = (i - (phase_x / pitch) as i32, j - (phase_y / pitch) as i32);
            let (across, along) = if weft { (b, a) } else { (a, b) };
            wrong = f32::from((first..last).contains(&across) && (from..to).contains(&along));
        }
        // 2/2 twill: over two, under two, one further each row.
        let over = |i: i32, j: i32| (i + j).rem_euclid(4) < 2;
        let warp_is_up = over(i, j) != (wrong > 0.5);

        // The thread that is up is a cylinder; where it dives under the next one it is darker.
        let (across, along, index, tone) = if warp_is_up {
            (fu, fv, i, warp)
        } else {
            (fv, fu, j + 5000, weft)
        };
        let round = (1.0 - (across * 2.0).powi(2) * 0.92).max(0.0).sqrt();
        let continues = if along < 0.0 {
            over(
                if warp_is_up { i } else { i - 1 },
                if warp_is_up { j - 1 } else { j },
            )
        } else {
            over(
                if warp_is_up { i } else { i + 1 },
                if warp_is_up { j + 1 } else { j },
            )
        } == over(i, j);
        let dive = if continues && wrong < 0.5 {
            0.0
        } else {
            smoothstep(0.15, 0.55, along.abs())
        };
        let (run, side) = if warp_is_up { (v, u) } else { (u, v) };
        // Fibres twist around the thread.
        let strand = fibre.smooth(side * 9.0 + run * 2.4, run * 1.3 + index as f32 * 7.0);
        let yarn = thread.white(index, 0) * 0.055 + thread.smooth(run / 7.0, index as f32 * 3.0) * 0.05;
        let mut k = mix(0.34, 1.0, round) * (1.0 - 0.42 * dive) * (1.0 + 0.13 * strand + yarn);
        k = mix(0.72, k, contrast);
        let mut color = scale(tone, k);
        color = blend(color, [0.1, 0.1, 0.11], 0.10 * (1.0 - round));

        let mut amount = wrong;
        match &defect_here {
            Defect::Hole {
                x: hx,
                y: hy,
                radius,
                depth,
            } => {
                let (dx, dy) = (x - hx, y - hy);
                let ragged =
                    1.0 + 0.32 * fray.smooth(dy.atan2(dx) * 2.2, 3.0) + 0.2 * fray.smooth(x / 2.0, y / 2.0);
                let d = dx.hypot(dy) - radius * ragged;
                amount = coverage(d);
                color = blend(color, [0.07, 0.07, 0.08], depth * smoothstep(1.2, -1.6, d));
                // Threads around it are pulled up and catch the light.
                color = scale(
                    color,
                    1.0 + 0.16 * smoothstep(3.2, 0.6, d) * smoothstep(-0.6, 0.8, d),
                );
            }
            Defect::Scratch {
                line,
                width,
                strength,
            } => {
                let (d, along) = line.distance(x, y);
                let taper = smoothstep(0.0, 0.15, along) * smoothstep(1.0, 0.85, along);
                let a = coverage(d - width * mix(0.45, 1.0, taper)) * mix(0.4, 1.0, taper);
                let rough = 0.75 + 0.5 * fray.smooth(x / 3.0, y / 3.0);
                let worn = if *strength > 0.0 {
                    [0.92, 0.92, 0.90]
                } else {
                    [0.12, 0.13, 0.15]
                };
                color = blend(color, worn, a * strength.abs() * rough);
                amount = coverage(d - width - 0.3);
            }
            Defect::Stain {
                x: sx,
                y: sy,
                radius,
                strength,
            } => {
                let (dx, dy) = (x - sx, y - sy);
                let edge = radius * (1.0 + 0.38 * fray.cloud(x / 13.0, y / 13.0));
                let d = dx.hypot(dy) - edge;
                let soaked = smoothstep(2.5, -3.5, d) * (0.8 + 0.2 * smoothstep(-5.0, -0.5, d));
                let tint = [1.0 - 0.75 * strength, 1.0 - strength, 1.0 - 1.35 * strength];
                let a: [f32; 3] = std::array::from_fn(|c| mix(1.0, tint[c], soaked));
                color = [color[0] * a[0], color[1] * a[1], color[2] * a[2]];
                amount = coverage(d);
            }
            Defect::Misweave { .. } | Defect::None => {}
        }
        let fall = 1.0 + lean_x * cx / 128.0 + lean_y * cy / 128.0 - 0.05 * (cx * cx + cy * cy) / 16384.0;
        let uneven = 1.0 + 0.03 * dirt.cloud(x / 70.0, y / 70.0);
        let lit = scale(color, light * fall * uneven);
        ([lit[0] * (1.0 + warmth), lit[1], lit[2] * (1.0 - warmth)], amount)
    };
    render(dice, size, defect.is_some(), shade)
}
