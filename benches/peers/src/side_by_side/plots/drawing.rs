//! A drawing, as SVG. Its colours can be told from white paper and from black.

use crate::side_by_side::contest::Kind;
use std::fmt::{Display, Write};

const GREY: &str = "#7d8590";

pub(super) fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Ours => "#e8702a",
        Kind::Variant => "#f0a878",
        Kind::Peer => "#4a8fd4",
        Kind::Floor => "#9aa1a9",
    }
}

pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

pub(super) struct Drawing {
    width: f64,
    body: String,
}

impl Drawing {
    pub(super) fn new(width: f64) -> Self {
        Self { width, body: String::new() }
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, size: u8, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    pub(super) fn rule(&mut self, x: f64, from: f64, to: f64) {
        self.add(format_args!(
            r#"<path d="M{x:.1} {from:.1}V{to:.1}" stroke="{GREY}" stroke-opacity="0.35"/>"#
        ));
    }

    pub(super) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, kind: Kind) {
        let fill = colour(kind);
        self.add(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2" fill="{fill}"/>"#
        ));
    }

    pub(super) fn span(&mut self, from: f64, to: f64, y: f64, width: f64, kind: Kind) {
        let stroke = colour(kind);
        self.add(format_args!(
            r#"<path d="M{from:.1} {y:.1}H{to:.1}" stroke="{stroke}" stroke-width="{width}"/>"#
        ));
    }

    pub(super) fn dot(&mut self, x: f64, y: f64, radius: f64, kind: Kind) {
        let fill = colour(kind);
        self.add(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius:.1}" fill="{fill}"/>"#
        ));
    }

    fn add(&mut self, element: impl Display) {
        writeln!(self.body, "{element}").expect("a string takes everything");
    }

    pub(super) fn finish(self, height: f64) -> String {
        let Self { width, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" font-family=\"system-ui, sans-serif\" fill=\"{GREY}\">\n\
             {body}</svg>\n"
        )
    }
}
