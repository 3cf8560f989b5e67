//! Figures: one SVG each, drawn in the colours of paper; the page turns those into colours of its theme, and PNG
//! files are rasterised from the same SVG.

use std::sync::Arc;

use resvg::{tiny_skia, usvg};

use crate::Error;

/// A colour of the light theme and the name of its variable in the page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ink {
    /// Red, green, blue.
    pub(crate) rgb: [u8; 3],
    /// CSS variable without the dashes.
    pub(crate) name: &'static str,
}

const fn ink(rgb: u32, name: &'static str) -> Ink {
    let [_, r, g, b] = rgb.to_be_bytes();
    Ink { rgb: [r, g, b], name }
}

/// Text and axes.
pub(crate) const TEXT: Ink = ink(0x1B_24_30, "ink");
/// Text of less weight.
pub(crate) const MUTED: Ink = ink(0x5A_66_75, "muted");
/// Lines behind the data.
pub(crate) const GRID: Ink = ink(0xE3_E7_EC, "grid");
/// Ground.
pub(crate) const PAPER: Ink = ink(0xFF_FF_FF, "paper");
/// Good images.
pub(crate) const GOOD: Ink = ink(0x1D_6F_B5, "s0");
/// Defective images.
pub(crate) const BAD: Ink = ink(0xC2_41_0D, "s1");
/// Series, told apart by people who see no red or green by their lightness and, where it matters, their names.
pub(crate) const SERIES: [Ink; 8] = [
    GOOD,
    BAD,
    ink(0x15_80_5B, "s2"),
    ink(0x8B_3F_B1, "s3"),
    ink(0xA0_62_06, "s4"),
    ink(0xBE_2E_6C, "s5"),
    ink(0x0D_74_91, "s6"),
    ink(0x57_53_4F, "s7"),
];

/// The colour of the number-th series.
pub(crate) fn series(number: usize) -> Ink {
    SERIES[number % SERIES.len()]
}

/// A figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Stable name, of files and anchors.
    pub id: String,
    /// Caption.
    pub title: String,
    /// How to read it, or what it shows.
    pub note: String,
    /// What it shows, for those who cannot see it.
    pub alt: String,
    /// The drawing, on paper.
    pub svg: String,
    /// Whether it takes the whole width of the page.
    pub wide: bool,
}

impl Figure {
    /// The SVG for the page: no ground of its own, colours by variables, a name for screen readers.
    pub(crate) fn inline(&self) -> String {
        let mut svg = self.svg.clone();
        for ink in SERIES.iter().chain(&[TEXT, MUTED, GRID, PAPER]) {
            let [r, g, b] = ink.rgb;
            svg = svg.replace(
                &format!("\"#{r:02X}{g:02X}{b:02X}\""),
                &format!("\"var(--{})\"", ink.name),
            );
        }
        let alt = escape(&self.alt);
        // The size moves into the view box, so that the page can scale it.

        svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{alt}\" "), 1)
    }

    /// The figure as a PNG file of twice its size in pixels.
    ///
    /// # Errors
    /// If the drawing is none, which would be a defect of this module.
    pub(crate) fn png(&self, fonts: &Fonts) -> Result<Vec<u8>, Error> {
        let wrong = |e: &dyn std::fmt::Display| Error::Panic(format!("figure {}: {e}", self.id));
        let options = usvg::Options {
            fontdb: Arc::clone(&fonts.0),
            font_family: "Ubuntu".into(),
            ..usvg::Options::default()
        };
        let tree = usvg::Tree::from_str(&self.svg, &options).map_err(|e| wrong(&e))?;
        let size = tree.size();
        let (width, height) = (
            (2.0 * size.width()).ceil() as u32,
            (2.0 * size.height()).ceil() as u32,
        );
        let mut pixels = tiny_skia::Pixmap::new(width, height).ok_or_else(|| wrong(&"it has no size"))?;
        pixels.fill(tiny_skia::Color::WHITE);
        resvg::render(
            &tree,
            tiny_skia::Transform::from_scale(2.0, 2.0),
            &mut pixels.as_mut(),
        );
        pixels.encode_png().map_err(|e| wrong(&e))
    }
}

/// The font of PNG files: in the program, so that they look the same everywhere.
pub(crate) struct Fonts(Arc<usvg::fontdb::Database>);

impl Fonts {
    /// Loads it.
    pub(crate) fn new() -> Fonts {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
        let family = fonts
            .faces()
            .next()
            .and_then(|face| face.families.first().cloned());
        fonts.set_sans_serif_family(family.map_or_else(|| "Ubuntu".into(), |(name, _)| name));
        Fonts(Arc::new(fonts))
    }
}

/// Text inside HTML or XML, attribute values included.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
