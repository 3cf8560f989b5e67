//! A turned tab washer on a dark table: a shape whose good images differ in place, angle and light.

use std::f32::consts::{PI, TAU};

use super::Part;
use super::canvas::{Color, Dice, Stroke, blend, coverage, mix, render, scale, smoothstep};

pub(super) const DEFECTS: [&str; 4] = ["bent", "chip", "contamination", "crack"];

enum Defect {
    None,
    /// A part of the rim around `angle` is bent outwards (or inwards) and towards the light.
    Bent {
        angle: f32,
        spread: f32,
        by: f32,
    },
    Chip {
        x: f32,
        y: f32,
        radius: f32,
    },
    Contamination {
        specks: Vec<(f32, f32, f32)>,
        opacity: f32,
        tone: Color,
    },
    Crack {
        line: Stroke,
        width: f32,
        depth: f32,
    },
}

impl Defect {
    fn new(dice: &mut Dice, kind: Option<&str>, outer: f32, inner: f32) -> Defect {
        let strength = dice.range(0.0, 1.0);
        // Away from the notch, which is at angle 0.
        let angle = dice.range(0.5, TAU - 0.5);
        let on_ring = |r: f32, a: f32| (r * a.cos(), r * a.sin());
        match kind {
            Some("bent") => Defect::Bent {
                angle,
                spread: dice.range(0.28, 0.55),
                by: mix(2.0, 7.0, strength) * if dice.coin() { 1.0 } else { -1.0 },
            },
            Some("chip") => {
                let radius = mix(3.5, 13.0, strength);
                let edge = if dice.coin() {
                    outer + 0.35 * radius
                } else {
                    inner - 0.35 * radius
                };
                let (x, y) = on_ring(edge, angle);
                Defect::Chip { x, y, radius }
            }
            Some("contamination") => {
                let (x, y) = on_ring(dice.range(inner + 9.0, outer - 9.0), angle);
                let reach = mix(2.0, 11.0, strength);
                let specks = (0..2 + (5.0 * strength) as usize)
                    .map(|_| {
                        let (dx, dy) = (dice.normal(0.6 * reach), dice.normal(0.6 * reach));
                        (x + dx, y + dy, dice.range(1.4, 2.2 + 0.45 * reach))
                    })
                    .collect();
                let tone = if dice.coin() {
                    [0.42, 0.26, 0.15]
                } else {
                    [0.20, 0.20, 0.19]
                };
                Defect::Contamination {
                    specks,
                    opacity: mix(0.25, 0.8, strength),
                    tone,
                }
            }
            Some(_) => {
                let outside = dice.coin();
                let start = on_ring(if outside { outer + 1.0 } else { inner - 1.0 }, angle);
                let heading = if outside { angle + PI } else { angle } + dice.normal(0.35);
                let length = mix(0.35, 1.05, strength) * (outer - inner);
                Defect::Crack {
                    line: Stroke::wander(dice, start, heading, length, 8, 0.45),
                    width: mix(0.55, 1.5, strength),
                    depth: mix(0.45, 0.9, strength),
                }
            }
            None => Defect::None,
        }
    }

    /// How far the rim at `angle` is moved outwards.
    fn bend(&self, angle: f32) -> f32 {
        match self {
            Defect::Bent {
                angle: at,
                spread,
                by,
            } => by * bump(angle - at, *spread),
            _ => 0.0,
        }
    }
}

/// 1 at 0, falling smoothly to 0 at `spread`, for angles of any turn.
fn bump(angle: f32, spread: f32) -> f32 {
    let near = (angle + PI).rem_euclid(TAU) - PI;
    smoothstep(spread, 0.0, near.abs())
}

pub(super) fn draw(dice: &mut Dice, size: u32, defect: Option<&str>) -> Part {
    let (center_x, center_y) = (128.0 + dice.normal(0.8), 128.0 + dice.normal(0.8));
    let (sin, cos) = dice.normal(0.035).sin_cos();
    let (outer, inner) = (86.0 + dice.normal(0.25), 38.0 + dice.normal(0.2));
    let (table, turned, patina, fray) = (dice.noise(), dice.noise(), dice.noise(), dice.noise());
    let light = 1.0 + dice.normal(0.02);
    let sun = -2.2 + dice.normal(0.07);
    let gloss = dice.range(0.20, 0.26);
    let wear = dice.range(0.025, 0.05);
    let (lean_x, lean_y) = (dice.normal(0.015), dice.normal(0.015));
    let lift = dice.range(3.5, 4.3);
    let here = Defect::new(dice, defect, outer, inner);

    // Distance to the outline of the sound or damaged part, in its own frame; negative inside.
    let outline = |x: f32, y: f32| {
        let (r, angle) = (x.hypot(y), y.atan2(x));
        let bend = here.bend(angle);
        let ring = (r - outer - bend).max(inner + 0.35 * bend - r);
        // The notch is a slot with a round end, cut from the outside.
        let slot = (x - 70.0).min(0.0).hypot(y) - 8.5;
        let slot = if x > 70.0 { y.abs() - 8.5 } else { slot };
        ring.max(-slot)
    };
    let chip = |x: f32, y: f32| match &here {
        Defect::Chip { x: hx, y: hy, radius } => {
            let (dx, dy) = (x - hx, y - hy);
            dx.hypot(dy)
                - radius * (1.0 + 0.30 * fray.smooth(dy.atan2(dx) * 2.0, 1.0) + 0.12 * fray.smooth(x, y))
        }
        _ => f32::INFINITY,
    };
    let body = |x: f32, y: f32| outline(x, y).max(-chip(x, y));
    let turn = |x: f32, y: f32| {
        let (dx, dy) = (x - center_x, y - center_y);
        (cos * dx + sin * dy, cos * dy - sin * dx)
    };

    let shade = |px: f32, py: f32| {
        let (x, y) = turn(px, py);
        let (r, angle) = (x.hypot(y), y.atan2(x));
        let d = body(x, y);

        let mut amount = match &here {
            Defect::Chip { .. } => coverage(outline(x, y)) * coverage(chip(x, y)),
            Defect::Bent {
                angle: at,
                spread,
                by,
            } => {
                // The metal that moved, and the ground it left.
                let touched = bump(angle - at, *spread) * by.abs() > 0.7;
                let sound = (r - outer).max(inner - r);
                let reach = coverage(d).max(coverage(sound));
                if touched && r > mix(inner, outer, 0.45) {
                    reach
                } else {
                    0.0
                }
            }
            _ => 0.0,
        };
        let (cx, cy) = ((px - 128.0) / 128.0, (py - 128.0) / 128.0);
        let lit = light * (1.0 + lean_x * cx + lean_y * cy - 0.06 * (cx * cx + cy * cy));
        let cover = coverage(d);
        let mut ground = [0.0; 3];
        if cover < 1.0 {
            ground = {
                // Table: dark, brushed a little, with the part's soft shadow away from the light.
                let felt =
                    table.smooth(px * 0.9, py * 0.9) * 0.028 + table.cloud(px / 38.0, py / 38.0) * 0.035;
                let ground: Color = scale([0.165, 0.185, 0.205], 1.0 + 2.0 * felt);
                let (sx, sy) = turn(px + lift * sun.cos(), py + lift * sun.sin());
                let shadow = smoothstep(5.5, -5.5, body(sx, sy));
                let contact = smoothstep(4.0, 0.0, d.max(0.0));
                scale(ground, 1.0 - 0.62 * shadow - 0.12 * contact)
            };
        }
        if cover == 0.0 {
            return (scale(ground, lit), amount);
        }

        // Metal: turned grooves are circles, so that the light is thrown back in two fans.
        let world = angle + sin.atan2(cos);
        let fan = (world - sun).cos().powi(2).powi(3) + 0.25 * (2.0 * (world - sun) + 0.9).cos().max(0.0);
        let groove = turned.white((r * 1.6) as i32, 0) * 0.6 + turned.smooth(r * 2.6, angle * 5.0) * 0.8;
        let stains = patina.cloud(x / 24.0, y / 24.0);
        let mut k = 0.56 + gloss * fan + 0.030 * groove * (0.6 + fan) + wear * stains;
        if let Defect::Bent {
            angle: at,
            spread,
            by,
        } = here
        {
            k += 0.022 * by * bump(angle - at, spread) * smoothstep(inner, outer, r);
        }
        let mut metal: Color = [k * 0.985, k, k * 1.025];

        // A bevel of 3 pixels along every edge faces outwards: bright towards the light, dark away.
        let bevel = smoothstep(-3.6, -2.2, d);
        if bevel > 0.0 {
            let e = 0.7;
            let (gx, gy) = (body(x + e, y) - body(x - e, y), body(x, y + e) - body(x, y - e));
            let normal = (sin * gx + cos * gy).atan2(cos * gx - sin * gy);
            let facing = (normal - sun).cos();
            metal = blend(metal, scale([0.97, 1.0, 1.03], 0.50 + 0.36 * facing), 0.8 * bevel);
        }
        metal = scale(metal, 1.0 - 0.30 * smoothstep(-0.9, 0.2, d));

        match &here {
            Defect::Chip { .. } => {
                // The break is rough and does not shine.
                let c = chip(x, y);
                let rough = 0.33 + 0.12 * fray.smooth(x * 1.3, y * 1.3);
                metal = blend(metal, [rough; 3], 0.75 * smoothstep(2.6, 0.6, c));
            }
            Defect::Crack { line, width, depth } => {
                let (far, along) = line.distance(x, y);
                let half = width * mix(1.15, 0.45, along) * (1.0 + 0.3 * fray.smooth(x / 2.0, y / 2.0));
                metal = blend(
                    metal,
                    [0.09, 0.09, 0.10],
                    depth * smoothstep(half + 0.7, half - 0.5, far),
                );
                // One lip of it stands up and catches the light.
                let lip = smoothstep(half + 2.0, half + 0.9, far) * smoothstep(half, half + 0.9, far);
                metal = scale(metal, 1.0 + 0.13 * lip);
                amount = coverage(far - half - 0.5) * coverage(d);
            }
            Defect::Contamination {
                specks,
                opacity,
                tone,
            } => {
                let mut nearest = f32::INFINITY;
                for (sx, sy, radius) in specks {
                    let ragged = 1.0 + 0.35 * fray.cloud((x + sx) / 3.5, (y - sy) / 3.5);
                    nearest = nearest.min((x - sx).hypot(y - sy) - radius * ragged);
                }
                let uneven = 0.85 + 0.3 * fray.smooth(x / 2.0, y / 2.0);
                metal = blend(metal, *tone, opacity * uneven * smoothstep(1.1, -1.3, nearest));
                amount = coverage(nearest) * coverage(d);
            }
            Defect::Bent { .. } | Defect::None => {}
        }

        (scale(blend(ground, metal, cover), lit), amount)
    };
    render(dice, size, defect.is_some(), shade)
}
