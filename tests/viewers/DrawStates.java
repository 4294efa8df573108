import J2Ci.jDVInterface;
import J2Ci.jDVPresentationState;
import J2Ci.jIntByRef;
import java.awt.Dimension;
import java.awt.geom.AffineTransform;
import java.awt.image.BufferedImage;
import java.io.File;
import javax.imageio.ImageIO;
import viewer.presentation.PresentationStateGraphicsHandler;

/**
 * Draws images as DICOMscope does, one pixel of the picture for each of the image, without a window.
 *
 * Arguments: DICOMscope's configuration, then for each picture four: a presentation state or "-", the image, the file
 * of the picture (PNG), and the name of a graphic layer that is switched off or "-".
 */
public class DrawStates {
    public static void main(String[] arguments) throws Exception {
        System.loadLibrary("jInterface");
        jDVInterface library = new jDVInterface(arguments[0]);
        for (int place = 1; place + 3 < arguments.length; place += 4) {
            draw(library, arguments[place], arguments[place + 1], new File(arguments[place + 2]), arguments[place + 3]);
        }
        System.exit(0);
    }

    private static void draw(jDVInterface library, String state, String image, File picture, String layerOff)
            throws Exception {
        int failed = state.equals("-") ? library.loadImage(image) : library.loadPState(state, image);
        if (failed != 0) {
            throw new IllegalArgumentException(state + " with " + image + " is refused: " + failed);
        }
        jDVPresentationState shown = library.getCurrentPState();
        if (!layerOff.equals("-")) {
            int layer = shown.getGraphicLayerIndex(layerOff);
            if (layer >= shown.getNumberOfGraphicLayers() || shown.removeGraphicLayer(layer) != 0) {
                throw new IllegalArgumentException(state + " has no layer " + layerOff);
            }
        }
        BufferedImage canvas = greyPicture(shown);
        PresentationStateGraphicsHandler graphics = new PresentationStateGraphicsHandler(library);
        graphics.buildPresentationState();
        graphics.setScreenSize(new Dimension(canvas.getWidth(), canvas.getHeight()));
        graphics.drawPaintStructure(canvas, new AffineTransform(), new AffineTransform(), true, 8, false);
        ImageIO.write(canvas, "png", picture);
    }

    private static BufferedImage greyPicture(jDVPresentationState shown) {
        jIntByRef width = new jIntByRef();
        jIntByRef height = new jIntByRef();
        shown.getImageWidth(width);
        shown.getImageHeight(height);
        byte[] grey = new byte[width.value * height.value];
        int failed = shown.getPixelData(grey, grey.length);
        if (failed != 0) {
            throw new IllegalArgumentException("The pixels are refused: " + failed);
        }
        BufferedImage plain = new BufferedImage(width.value, height.value, BufferedImage.TYPE_BYTE_GRAY);
        plain.getRaster().setDataElements(0, 0, width.value, height.value, grey);
        BufferedImage canvas = new BufferedImage(width.value, height.value, BufferedImage.TYPE_INT_RGB);
        canvas.createGraphics().drawImage(plain, 0, 0, null);
        return canvas;
    }
}
