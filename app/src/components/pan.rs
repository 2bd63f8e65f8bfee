//! Moving and zooming a picture: drag or pinch, wheel, keys.
//!
//! A page must stay scrollable past a picture: wheel and touch move the picture only once it has been clicked or tapped,
//! that is, has the focus.

use leptos::{ev, prelude::*, svg};

/// What part of the picture is seen, in its own units.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Seen {
    /// Brings a point nearer by a factor; the point stays where it is on the screen. From a twentieth of the picture's
    /// size to twice that.
    fn zoomed(self, factor: f64, (x, y): (f64, f64), (width, height): (f64, f64)) -> Self {
        let wanted = (self.width / factor).clamp(width / 20.0, width * 2.0);
        let factor = self.width / wanted;
        let _ = height;
        Self {
            x: x - (x - self.x) / factor,
            y: y - (y - self.y) / factor,
            width: self.width / factor,
            height: self.height / factor,
        }
    }
}

/// A button's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zoom {
    In,
    Out,
    Fit,
}

/// The state of a picture.
#[derive(Clone, Copy)]
pub struct Pan {
    size: Signal<(f64, f64)>,
    /// `None`: all of it.
    seen: RwSignal<Option<Seen>>,
    /// Pointers that are down, and where they were last.
    pointers: StoredValue<Vec<(i32, f64, f64)>>,
    /// How far the pointer has gone since it went down, in pixels: a click is no drag.
    gone: StoredValue<f64>,
    /// [`LEAST`], or less on a narrow screen, where that much room would make letters too small.
    least: RwSignal<(f64, f64)>,
    pub svg: NodeRef<svg::Svg>,
}

/// A picture smaller than this stands in the middle of so much room: it is not blown up.
const LEAST: (f64, f64) = (720.0, 300.0);

fn whole((width, height): (f64, f64), least: (f64, f64)) -> Seen {
    let (w, h) = (width.max(least.0), height.max(least.1));
    Seen { x: (width - w) / 2.0, y: (height - h) / 2.0, width: w, height: h }
}

/// One step of a key or button.
const STEP: f64 = 1.25;
/// A shorter way than this is a click.
const CLICK: f64 = 4.0;

impl Pan {
    pub fn new(size: Signal<(f64, f64)>) -> Self {
        let least = RwSignal::new(LEAST);
        Effect::new(move |_| {
            let screen = window().inner_width().ok().and_then(|width| width.as_f64());
            if let Some(width) = screen.filter(|width| *width < LEAST.0) {
                least.set((width, LEAST.1));
            }
        });
        Self {
            size,
            seen: RwSignal::new(None),
            pointers: StoredValue::new(Vec::new()),
            gone: StoredValue::new(0.0),
            least,
            svg: NodeRef::new(),
        }
    }

    fn now(self) -> Seen {
        self.seen.get_untracked().unwrap_or_else(|| whole(self.size.get_untracked(), self.least.get_untracked()))
    }

    /// The attribute, tracked.
    pub fn view_box(self) -> String {
        let size = self.size.get();
        let seen = self.seen.get().unwrap_or_else(|| whole(size, self.least.get()));
        format!("{:.1} {:.1} {:.1} {:.1}", seen.x, seen.y, seen.width, seen.height)
    }

    /// What a button asks for.
    pub fn zoom(self, zoom: Zoom) {
        let seen = self.now();
        let middle = (seen.x + seen.width / 2.0, seen.y + seen.height / 2.0);
        self.seen.set(match zoom {
            Zoom::In => Some(seen.zoomed(STEP, middle, self.size.get_untracked())),
            Zoom::Out => Some(seen.zoomed(1.0 / STEP, middle, self.size.get_untracked())),
            Zoom::Fit => None,
        });
    }

    fn shift(self, x: f64, y: f64) {
        let seen = self.now();
        self.seen.set(Some(Seen { x: seen.x + x, y: seen.y + y, ..seen }));
    }

    /// Plus and minus zoom, Home shows all, Shift with arrows moves.
    pub fn key(self, ev: &ev::KeyboardEvent) {
        if ev.ctrl_key() || ev.meta_key() || ev.alt_key() {
            return;
        }
        let seen = self.now();
        let (x, y) = (seen.width / 8.0, seen.height / 8.0);
        match (ev.key().as_str(), ev.shift_key()) {
            ("+" | "=", _) => self.zoom(Zoom::In),
            ("-" | "_", _) => self.zoom(Zoom::Out),
            ("Home", _) => self.zoom(Zoom::Fit),
            ("ArrowLeft", true) => self.shift(-x, 0.0),
            ("ArrowRight", true) => self.shift(x, 0.0),
            ("ArrowUp", true) => self.shift(0.0, -y),
            ("ArrowDown", true) => self.shift(0.0, y),
            _ => return,
        }
        ev.prevent_default();
        ev.stop_propagation();
    }

    pub fn down(self, ev: &ev::PointerEvent) {
        let at = (ev.pointer_id(), f64::from(ev.client_x()), f64::from(ev.client_y()));
        self.pointers.update_value(|p| p.push(at));
        self.gone.set_value(0.0);
    }

    pub fn up(self, ev: &ev::PointerEvent) {
        let id = ev.pointer_id();
        self.pointers.update_value(|p| p.retain(|(other, ..)| *other != id));
    }

    pub fn moved(self, ev: &ev::PointerEvent) {
        let (id, x, y) = (ev.pointer_id(), f64::from(ev.client_x()), f64::from(ev.client_y()));
        let before = self.pointers.get_value();
        let Some((_, old_x, old_y)) = before.iter().find(|(other, ..)| *other == id).copied() else { return };
        if ev.buttons() == 0 {
            return self.up(ev); // it went up elsewhere
        }
        self.gone.update_value(|gone| *gone += (x - old_x).hypot(y - old_y));
        self.pointers.update_value(|p| {
            for pointer in p.iter_mut().filter(|(other, ..)| *other == id) {
                *pointer = (id, x, y);
            }
        });
        let Some(scale) = self.scale() else { return };
        match before.iter().find(|(other, ..)| *other != id) {
            Some((_, other_x, other_y)) => {
                let (was, is) = ((old_x - other_x).hypot(old_y - other_y), (x - other_x).hypot(y - other_y));
                if was > 1.0 && is > 1.0 {
                    let middle = self.point(f64::midpoint(x, *other_x), f64::midpoint(y, *other_y));
                    let seen = self.now().zoomed(is / was, middle, self.size.get_untracked());
                    self.seen.set(Some(seen));
                }
            }
            None if self.gone.get_value() > CLICK => self.shift((old_x - x) * scale, (old_y - y) * scale),
            None => {}
        }
    }

    pub fn wheel(self, ev: &ev::WheelEvent) {
        if !(ev.ctrl_key() || self.has_focus()) {
            return;
        }
        ev.prevent_default();
        let at = self.point(f64::from(ev.client_x()), f64::from(ev.client_y()));
        let factor = if ev.delta_y() < 0.0 { 1.15 } else { 1.0 / 1.15 };
        self.seen.set(Some(self.now().zoomed(factor, at, self.size.get_untracked())));
    }

    /// The picture's box on the screen: left, top, width, height.
    fn frame(self) -> Option<(f64, f64, f64, f64)> {
        #[cfg(feature = "hydrate")]
        {
            let rect = self.svg.get_untracked()?.get_bounding_client_rect();
            (rect.width() > 0.0 && rect.height() > 0.0).then(|| (rect.left(), rect.top(), rect.width(), rect.height()))
        }
        #[cfg(not(feature = "hydrate"))]
        None
    }

    /// Units of the picture in a pixel of the screen.
    fn scale(self) -> Option<f64> {
        let (_, _, width, height) = self.frame()?;
        let seen = self.now();
        Some((seen.width / width).max(seen.height / height))
    }

    /// A point of the screen in units of the picture, which stands in the middle of its box.
    fn point(self, x: f64, y: f64) -> (f64, f64) {
        let seen = self.now();
        let middle = (seen.x + seen.width / 2.0, seen.y + seen.height / 2.0);
        match self.frame().zip(self.scale()) {
            Some(((left, top, width, height), scale)) => {
                (middle.0 + (x - left - width / 2.0) * scale, middle.1 + (y - top - height / 2.0) * scale)
            }
            None => middle,
        }
    }

    fn has_focus(self) -> bool {
        #[cfg(feature = "hydrate")]
        {
            let active = document().active_element();
            self.svg.get_untracked().is_some_and(|svg| active.is_some_and(|a| svg.contains(Some(&a))))
        }
        #[cfg(not(feature = "hydrate"))]
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_picture_stands_in_the_middle_and_is_not_blown_up() {
        assert_eq!(whole((1000.0, 500.0), LEAST), Seen { x: 0.0, y: 0.0, width: 1000.0, height: 500.0 });
        assert_eq!(whole((120.0, 100.0), LEAST), Seen { x: -300.0, y: -100.0, width: 720.0, height: 300.0 });
    }

    #[test]
    fn zooming_keeps_the_point_under_the_pointer_and_has_limits() {
        let all = Seen { x: 0.0, y: 0.0, width: 100.0, height: 50.0 };
        let near = all.zoomed(2.0, (20.0, 10.0), (100.0, 50.0));
        assert_eq!(near, Seen { x: 10.0, y: 5.0, width: 50.0, height: 25.0 });
        assert_eq!(all.zoomed(1000.0, (0.0, 0.0), (100.0, 50.0)).width, 5.0);
        assert_eq!(all.zoomed(0.001, (0.0, 0.0), (100.0, 50.0)).width, 200.0);
    }
}
