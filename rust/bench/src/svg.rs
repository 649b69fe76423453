//! Bar charts as SVG, by plain templating: one kind of chart needs no library.
//!
//! Owns the layout. Invariant: every bar starts at zero and bears its figure,
//! so a chart cannot say more than the table.

use std::fmt::Write as _;
use std::fs;
use std::io::Result;
use std::path::Path;

use crate::results::RowResult;
use crate::row::Metric;

/// File name, heading, and the beginnings of the ids of the rows shown.
const CHARTS: [(&str, &str, &[&str]); 4] = [
    ("fork", "Connections a second: the bare C fork loop", &["accept-", "ahead-", "reuse-"]),
    ("host", "Connections a second: a big host", &["host-"]),
    ("python", "Connections a second: Python", &["py-accept-", "py-host-", "py-reuse-"]),
    ("rivals", "Connections a second: other servers, 16 clients", &["rival-"]),
];

const WIDTH: f64 = 760.0;
const LEFT: f64 = 270.0;
const BAR: f64 = 14.0;
const GROUP: f64 = 2.0 * BAR + 26.0;
const TOP: f64 = 40.0;

/// Draws the charts that have rows into `dir`; returns heading and file name of each.
pub fn draw(rows: &[RowResult], dir: &Path) -> Result<Vec<(&'static str, String)>> {
    let mut drawn = Vec::new();
    for (name, heading, ids) in CHARTS {
        let shown: Vec<&RowResult> =
            rows.iter().filter(|r| ids.iter().any(|id| r.id.starts_with(id))).collect();
        if !shown.is_empty() {
            let file = format!("bench-{name}.svg");
            fs::create_dir_all(dir)?;
            fs::write(dir.join(&file), chart(heading, &shown))?;
            drawn.push((heading, file));
        }
    }
    Ok(drawn)
}

fn chart(heading: &str, rows: &[&RowResult]) -> String {
    let sides = |r: &RowResult| {
        let (a, b) = r.medians(Metric::Rate);
        [(r.a.name.clone(), a, "#2f6fb5"), (r.b.name.clone(), b, "#9a9a9a")]
    };
    let largest = rows.iter().flat_map(|r| sides(r)).filter_map(|s| s.1).fold(1.0, f64::max);
    let height = TOP + rows.len() as f64 * GROUP + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>{0}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{0}</text>\n",
        escape(heading)
    );
    for (n, row) in rows.iter().enumerate() {
        let mut y = TOP + n as f64 * GROUP + BAR;
        let title = escape(&format!("{}, {}", row.title, row.load));
        let _ = writeln!(svg, "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{title}</text>");
        for (name, value, colour) in sides(row) {
            let value = value.unwrap_or(0.0);
            let (width, base) = (value / largest * (WIDTH - LEFT - 70.0), y + 17.0);
            let (end, edge) = (LEFT + width + 5.0, LEFT - 8.0);
            let _ = writeln!(
                svg,
                "<text x=\"{edge}\" y=\"{base:.0}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{:.0}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\
                 <text x=\"{end:.1}\" y=\"{base:.0}\">{value:.0}</text>",
                escape(&name),
                y + 6.0,
                BAR - 1.0,
            );
            y += BAR;
        }
    }
    svg + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::SideResult;
    use crate::row::Sample;

    #[test]
    fn bars_are_to_scale_and_names_escaped() {
        let side = |name: &str| SideResult { name: name.into(), command: String::new(), held: 0 };
        let rate = |rate| Sample { rate, ..Sample::default() };
        let row = RowResult {
            id: "accept-1".into(),
            title: "a < b & c".into(),
            load: "1 client".into(),
            a: side("ours"),
            b: side("<them>"),
            goals: Vec::new(),
            pairs: vec![(rate(200.0), rate(100.0))],
            date: String::new(),
            command: String::new(),
        };
        let svg = chart("x", &[&row]);
        let full = WIDTH - LEFT - 70.0;
        assert!(svg.contains(&format!("width=\"{full:.1}\"")), "{svg}");
        assert!(svg.contains(&format!("width=\"{:.1}\"", full / 2.0)), "{svg}");
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("&lt;them&gt;"), "{svg}");
    }
}
