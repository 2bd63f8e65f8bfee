//! A picture of the server's as PNG: drawn by the browser, which has the fonts that its reader's language needs.

/// Draws the SVG at an address as PNG and gives it to the person as a file. `failed` is called when it cannot be drawn.
#[cfg(feature = "hydrate")]
pub fn download_png(address: &str, failed: impl Fn() + Clone + 'static) {
    use wasm_bindgen::{JsCast as _, closure::Closure};
    use web_sys::HtmlImageElement;

    let Ok(image) = HtmlImageElement::new() else { return failed() };
    let loaded = Closure::once_into_js({
        let (image, failed) = (image.clone(), failed.clone());
        move || {
            if draw(&image, failed.clone()).is_err() {
                failed();
            }
        }
    });
    let refused = Closure::once_into_js(failed);
    image.set_onload(Some(loaded.unchecked_ref()));
    image.set_onerror(Some(refused.unchecked_ref()));
    image.set_src(address);
}

/// Nothing is drawn on the server.
#[cfg(not(feature = "hydrate"))]
pub fn download_png(_address: &str, _failed: impl Fn() + Clone + 'static) {}

/// Points of the picture to one of the drawing: sharp on paper and on most screens.
#[cfg(feature = "hydrate")]
const SCALE: f64 = 2.0;
/// The most points that every browser draws.
#[cfg(feature = "hydrate")]
const MOST: f64 = 16_000_000.0;

#[cfg(feature = "hydrate")]
fn draw(image: &web_sys::HtmlImageElement, failed: impl Fn() + 'static) -> Result<(), wasm_bindgen::JsValue> {
    use wasm_bindgen::{JsCast as _, JsValue, closure::Closure};
    use web_sys::{Blob, CanvasRenderingContext2d, HtmlAnchorElement, HtmlCanvasElement, Url};

    let (width, height) = (f64::from(image.natural_width()), f64::from(image.natural_height()));
    let scale = SCALE.min((MOST / (width * height).max(1.0)).sqrt());
    let document = leptos::prelude::document();
    let canvas: HtmlCanvasElement = document.create_element("canvas")?.dyn_into().map_err(JsValue::from)?;
    canvas.set_width((width * scale).round() as u32);
    canvas.set_height((height * scale).round() as u32);
    let context = canvas.get_context("2d")?.ok_or(JsValue::NULL)?;
    let context: CanvasRenderingContext2d = context.dyn_into().map_err(JsValue::from)?;
    context.scale(scale, scale)?;
    context.draw_image_with_html_image_element(image, 0.0, 0.0)?;
    let drawn = Closure::once_into_js(move |blob: Option<Blob>| {
        let saved = blob.ok_or(JsValue::NULL).and_then(|blob| {
            let address = Url::create_object_url_with_blob(&blob)?;
            let link: HtmlAnchorElement = document.create_element("a")?.dyn_into().map_err(JsValue::from)?;
            link.set_href(&address);
            link.set_download("graph.png");
            link.click();
            Url::revoke_object_url(&address)
        });
        if saved.is_err() {
            failed();
        }
    });
    canvas.to_blob(drawn.unchecked_ref())
}
