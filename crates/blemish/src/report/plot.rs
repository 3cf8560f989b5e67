//! Charts with axes of our own over plotters: what the sections draw with.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figure::{GRID, Ink, MUTED, PAPER, TEXT};

/// What drawing into a string can fail with: nothing but a defect of the drawing.
pub(crate) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A drawing area.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The colour as plotters has it.
pub(crate) fn rgb(ink: Ink) -> RGBColor {
    let [r, g, b] = ink.rgb;
    RGBColor(r, g, b)
}

/// Draws into an SVG of this size; an empty drawing if that fails.
pub(crate) fn svg(width: u32, height: u32, draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        let drawn = area
            .fill(&rgb(PAPER))
            .map_err(Into::into)
            .and_then(|()| draw(&area))
            .and_then(|()| Ok(area.present()?));
        debug_assert!(drawn.is_ok(), "{drawn:?}");
    }
    text
}

/// Where a text hangs at its point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Hang {
    /// It begins there.
    Left,
    /// It is centred.
    Middle,
    /// It ends there.
    Right,
}

/// Writes a text, vertically centred at the point.
pub(crate) fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, ink: Ink, hang: Hang) -> Drawn {
    write_in(area, text, at, size, &rgb(ink), hang)
}

/// As [`write`], in any colour.
pub(crate) fn write_in(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    color: &RGBColor,
    hang: Hang,
) -> Drawn {
    let position = match hang {
        Hang::Left => HPos::Left,
        Hang::Middle => HPos::Center,
        Hang::Right => HPos::Right,
    };
    // plotters writes a size divided by 1.24, which is what its bitmaps need.
    let style = ("sans-serif", f64::from(size) * 1.24)
        .into_text_style(area)
        .color(color)
        .pos(Pos::new(position, VPos::Center));
    area.draw_text(text, &style, at)?;
    Ok(())
}

/// An axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What it measures, with its unit.
    pub(crate) label: String,
    /// Lowest and highest value shown.
    pub(crate) range: (f64, f64),
    /// Whether equal steps are equal factors.
    pub(crate) log: bool,
    /// Marks: value and text; `None` chooses them.
    pub(crate) ticks: Option<Vec<(f64, String)>>,
    /// How chosen marks are written.
    pub(crate) format: fn(f64) -> String,
}

impl Axis {
    /// A linear axis.
    pub(crate) fn linear(label: &str, range: (f64, f64)) -> Axis {
        Axis {
            label: label.into(),
            range: if range.0 < range.1 {
                range
            } else {
                (range.0 - 0.5, range.0 + 0.5)
            },
            log: false,
            ticks: None,
            format: short,
        }
    }

    /// A logarithmic axis.
    pub(crate) fn log(label: &str, range: (f64, f64), format: fn(f64) -> String) -> Axis {
        let (low, high) = (range.0.max(f64::MIN_POSITIVE), range.1.max(f64::MIN_POSITIVE));
        Axis {
            label: label.into(),
            range: if low < high {
                (low, high)
            } else {
                (low / 2.0, low * 2.0)
            },
            log: true,
            ticks: None,
            format,
        }
    }

    /// The range that shows `values`, with some room.
    pub(crate) fn around(values: impl IntoIterator<Item = f64>, log: bool) -> Option<(f64, f64)> {
        let (low, high) = values
            .into_iter()
            .filter(|v| v.is_finite() && (!log || *v > 0.0))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
                (l.min(v), h.max(v))
            });
        if low > high {
            return None;
        }
        if log {
            let room = (high / low).powf(0.06).max(1.15);
            return Some((low / room, high * room));
        }
        let room = ((high - low) * 0.06).max(1e-9);
        Some((low - room, high + room))
    }

    /// Where a value lies between the ends, 0 to 1.
    pub(crate) fn place(&self, v: f64) -> f64 {
        let (low, high) = self.range;
        if self.log {
            (v.max(f64::MIN_POSITIVE) / low).ln() / (high / low).ln()
        } else {
            (v - low) / (high - low)
        }
    }

    fn marks(&self) -> Vec<(f64, String)> {
        if let Some(ticks) = &self.ticks {
            return ticks.clone();
        }
        let (low, high) = self.range;
        let values: Vec<f64> = if self.log {
            let decades = (high / low).log10();
            let factors: &[f64] = match decades {
                d if d > 2.5 => &[1.0],
                d if d > 1.2 => &[1.0, 3.0],
                _ => &[1.0, 2.0, 5.0],
            };
            let skip = (decades / 7.0).ceil().max(1.0) as i32;
            (low.log10().floor() as i32..=high.log10().ceil() as i32)
                .filter(|e| e.rem_euclid(skip) == 0)
                .flat_map(|e| factors.iter().map(move |f| f * 10f64.powi(e)))
                .collect()
        } else {
            let rough = (high - low) / 5.0;
            let power = 10f64.powf(rough.log10().floor());
            let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|f| f * power);
            let step = step.into_iter().find(|s| *s >= rough * 0.999).unwrap_or(rough);
            ((low / step).ceil() as i64..=(high / step).floor() as i64)
                .map(|i| i as f64 * step)
                .collect()
        };
        values
            .into_iter()
            .filter(|v| (low..=high).contains(v))
            .map(|v| (v, (self.format)(v)))
            .collect()
    }
}

/// A number without needless digits.
pub(crate) fn short(v: f64) -> String {
    let text = format!("{v:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "-0" => "0".into(),
        text => text.replace('-', "−"),
    }
}

/// A count with K or M.
pub(crate) fn counted(v: f64) -> String {
    match v {
        v if v >= 1e6 => format!("{} M", short(v / 1e6)),
        v if v >= 1e3 => format!("{} K", short(v / 1e3)),
        v => short(v),
    }
}

/// A chart's frame: where values lie in the drawing.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    x: Axis,
    y: Axis,
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}

/// Room around a chart, in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// For the marks and label of the vertical axis.
    pub(crate) left: i32,
    /// Above.
    pub(crate) top: i32,
    /// To the right.
    pub(crate) right: i32,
    /// For the marks and label of the horizontal axis.
    pub(crate) bottom: i32,
}

impl Default for Room {
    fn default() -> Room {
        Room {
            left: 58,
            top: 24,
            right: 14,
            bottom: 46,
        }
    }
}

impl Frame {
    /// Draws axes and grid, and returns where things lie.
    ///
    /// # Errors
    /// Those of the drawing.
    pub(crate) fn draw(
        area: &Area<'_>,
        x: Axis,
        y: Axis,
        room: Room,
    ) -> Result<Frame, Box<dyn std::error::Error>> {
        let (width, height) = area.dim_in_pixel();
        let frame = Frame {
            x,
            y,
            left: room.left,
            top: room.top,
            right: width as i32 - room.right,
            bottom: height as i32 - room.bottom,
        };
        let (grid, axis) = (rgb(GRID).stroke_width(1), rgb(MUTED).stroke_width(1));
        for (v, text) in frame.y.marks() {
            let y = frame.at(frame.x.range.0, v).1;
            area.draw(&PathElement::new(vec![(frame.left, y), (frame.right, y)], grid))?;
            write(area, &text, (frame.left - 6, y), 12, MUTED, Hang::Right)?;
        }
        for (v, text) in frame.x.marks() {
            let x = frame.at(v, frame.y.range.0).0;
            area.draw(&PathElement::new(vec![(x, frame.top), (x, frame.bottom)], grid))?;
            write(area, &text, (x, frame.bottom + 12), 12, MUTED, Hang::Middle)?;
        }
        let base = vec![(frame.left, frame.bottom), (frame.right, frame.bottom)];
        area.draw(&PathElement::new(base, axis))?;
        let middle = (frame.left + frame.right) / 2;
        write(
            area,
            &frame.x.label,
            (middle, frame.bottom + 32),
            13,
            TEXT,
            Hang::Middle,
        )?;
        // Along the top, where it can be read without turning the head.
        write(area, &frame.y.label, (6, frame.top - 13), 13, TEXT, Hang::Left)?;
        Ok(frame)
    }

    /// The pixel of a value, inside the frame.
    pub(crate) fn at(&self, x: f64, y: f64) -> (i32, i32) {
        let px = f64::from(self.left) + self.x.place(x).clamp(0.0, 1.0) * f64::from(self.right - self.left);
        let py = f64::from(self.bottom) - self.y.place(y).clamp(0.0, 1.0) * f64::from(self.bottom - self.top);
        (px.round() as i32, py.round() as i32)
    }

    /// A line through points.
    pub(crate) fn line(&self, area: &Area<'_>, points: &[(f64, f64)], ink: Ink, width: u32) -> Drawn {
        let pixels: Vec<(i32, i32)> = points.iter().map(|(x, y)| self.at(*x, *y)).collect();
        area.draw(&PathElement::new(pixels, rgb(ink).stroke_width(width)))?;
        Ok(())
    }

    /// Dots.
    pub(crate) fn dots(
        &self,
        area: &Area<'_>,
        points: &[(f64, f64)],
        ink: Ink,
        radius: i32,
        opacity: f64,
    ) -> Drawn {
        // What falls on the same pixel is drawn once.
        let mut pixels: Vec<(i32, i32)> = points.iter().map(|(x, y)| self.at(*x, *y)).collect();
        pixels.sort_unstable();
        pixels.dedup();
        for pixel in pixels {
            area.draw(&Circle::new(pixel, radius, rgb(ink).mix(opacity).filled()))?;
        }
        Ok(())
    }

    /// The area between two lines.
    pub(crate) fn band(&self, area: &Area<'_>, low: &[(f64, f64)], high: &[(f64, f64)], ink: Ink) -> Drawn {
        let pixels = low.iter().chain(high.iter().rev()).map(|(x, y)| self.at(*x, *y));
        area.draw(&Polygon::new(
            pixels.collect::<Vec<_>>(),
            rgb(ink).mix(0.15).filled(),
        ))?;
        Ok(())
    }

    /// A filled bar between two corners.
    pub(crate) fn bar(
        &self,
        area: &Area<'_>,
        from: (f64, f64),
        to: (f64, f64),
        ink: Ink,
        opacity: f64,
    ) -> Drawn {
        let (a, b) = (self.at(from.0, from.1), self.at(to.0, to.1));
        area.draw(&Rectangle::new([a, b], rgb(ink).mix(opacity).filled()))?;
        Ok(())
    }
}

/// Rows of names with their colours, from the left edge at a height.
pub(crate) fn legend(area: &Area<'_>, names: &[(String, Ink)], left: i32, top: i32) -> Drawn {
    let width = area.dim_in_pixel().0 as i32;
    let (mut x, mut y) = (left, top);
    for (name, ink) in names {
        let needed = 22 + width_of(name, 12);
        if x + needed > width && x > left {
            x = left;
            y += 18;
        }
        area.draw(&Rectangle::new([(x, y - 5), (x + 10, y + 5)], rgb(*ink).filled()))?;
        write(area, name, (x + 15, y), 12, TEXT, Hang::Left)?;
        x += needed + 10;
    }
    Ok(())
}

/// The height that [`legend`] takes, in pixels.
pub(crate) fn legend_height(names: &[(String, Ink)], left: i32, width: i32) -> i32 {
    let (mut x, mut lines) = (left, 1);
    for (name, _) in names {
        let needed = 22 + width_of(name, 12);
        if x + needed > width && x > left {
            x = left;
            lines += 1;
        }
        x += needed + 10;
    }
    18 * lines
}

/// About how many pixels a text takes: no font is asked, since the reader's is not known.
pub(crate) fn width_of(text: &str, size: i32) -> i32 {
    (text.chars().count() as f64 * f64::from(size) * 0.56).ceil() as i32
}

/// A colour of a scale that grows darker and bluer, 0 to 1, and that of text on it.
pub(crate) fn heat(t: f64) -> (RGBColor, RGBColor) {
    const STOPS: [[f64; 3]; 5] = [
        [252.0, 248.0, 225.0],
        [185.0, 222.0, 190.0],
        [72.0, 170.0, 180.0],
        [36.0, 98.0, 156.0],
        [22.0, 36.0, 92.0],
    ];
    let at = t.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let i = (at.floor() as usize).min(STOPS.len() - 2);
    let part = at - i as f64;
    let [r, g, b] =
        std::array::from_fn(|c| (STOPS[i][c] + (STOPS[i + 1][c] - STOPS[i][c]) * part).round() as u8);
    let light = 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b) > 140.0;
    let text = if light {
        RGBColor(17, 24, 32)
    } else {
        RGBColor(254, 254, 254)
    };
    (RGBColor(r, g, b), text)
}
